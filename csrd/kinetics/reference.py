"""A curve between its frames: its integral, and its convolution with exponentials.

A frame's value is the mean over the frame, hence the integral is known exactly at the frames' edges. Between
them it is the monotone cubic through those values (PCHIP, Fritsch & Carlson 1980), whose derivative is a
continuous curve with the same mean in every frame. Frames need not be short against the curve's changes, and
nothing is sampled at the middle of a frame.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from csrd.errors import InputError

STEPS = 16
"""Intervals of a frame in which the curve is taken as linear for a convolution."""
EDGE_S = 1.0
"""Frames up to this far apart, in s, follow one another: clocks are rounded."""


@dataclass(frozen=True)
class Times:
    """Edges (M + 1,) in s of M intervals without a gap; `frames` (N,) are the frames' indices."""

    edges: np.ndarray
    frames: np.ndarray

    @classmethod
    def of(cls, starts: np.ndarray, durations: np.ndarray) -> "Times":
        """Return the times of N frames; a gap between two frames becomes an interval of its own.

        Raises InputError where frames overlap.
        """
        gaps = starts[1:] - (starts + durations)[:-1]
        if (gaps < -EDGE_S).any():
            index = int(np.argmin(gaps)) + 1
            raise InputError(
                f"frame {index + 1} starts {-gaps[index - 1]:g} s before frame {index} ends; correct them"
            )
        edges, frames = [float(starts[0])], []
        for start, duration in zip(starts, durations, strict=True):
            if start - edges[-1] > EDGE_S:
                edges.append(float(start))
            frames.append(len(edges) - 1)
            edges.append(float(start + duration))
        return cls(np.array(edges), np.array(frames))

    @property
    def lengths(self) -> np.ndarray:
        """Return the lengths (M,) of the intervals in s."""
        return np.diff(self.edges)

    def filled(self, curve: np.ndarray) -> np.ndarray:
        """Return a curve's means (M,) in all intervals; in a gap they are interpolated linearly."""
        middles = (self.edges[:-1] + self.edges[1:]) / 2
        return np.interp(middles, middles[self.frames], curve)

    def integral(self, curve: np.ndarray) -> PchipInterpolator:
        """Return the integral of a curve, given by its means in the N frames, as a function of the time."""
        sums = np.append(0, np.cumsum(self.filled(curve) * self.lengths))
        return PchipInterpolator(self.edges, sums)

    def mean_integral(self, curve: np.ndarray) -> np.ndarray:
        """Return the mean over each frame (N,) of the integral of a curve since the first frame's start."""
        twice = self.integral(curve).antiderivative()(self.edges)
        return (np.diff(twice) / self.lengths)[self.frames]

    def integral_matrix(self) -> np.ndarray:
        """Return the matrix (N, N) in s that takes a curve's means in the frames to those of its integral.

        A curve is even in each interval, so that the matrix is linear, unlike `mean_integral`. It propagates
        noise.
        """
        count = len(self.lengths)
        filled = np.array([self.filled(unit) for unit in np.eye(len(self.frames))]).T
        return ((np.tri(count, k=-1) + np.eye(count) / 2) * self.lengths @ filled)[self.frames]

    def convolved(self, curve: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Return the means over the frames (K, N) of a curve convolved with exp(-rate t), for K rates in 1/s.

        y' = c - rate y is integrated exactly for a curve c that is linear within each of `STEPS` parts of a
        frame; a frame's mean of y then is (mean of c - change of y / length) / rate.
        """
        fine = np.concatenate(
            [
                np.linspace(a, b, STEPS, endpoint=False)
                for a, b in zip(self.edges, self.edges[1:], strict=False)
            ]
            + [self.edges[-1:]]
        )
        values = self.integral(curve).derivative()(fine)
        steps, columns = np.diff(fine), rates[:, None]
        flat = -np.expm1(-columns * steps) / columns
        parts = values[:-1] * flat + np.diff(values) / steps * (steps - flat) / columns
        parts = parts * np.exp(-columns * (np.repeat(self.edges[1:], STEPS) - fine[1:]))
        added = parts.reshape(len(rates), -1, STEPS).sum(axis=2)  # of a frame, at its end
        at_edges = [np.zeros(len(rates))]
        for index, length in enumerate(self.lengths):
            at_edges.append(at_edges[-1] * np.exp(-rates * length) + added[:, index])
        change = np.diff(np.array(at_edges).T, axis=1) / self.lengths
        # the linear parts' own means, so that both terms belong to one curve
        means = ((values[1:] + values[:-1]) / 2 * steps).reshape(-1, STEPS).sum(axis=1) / self.lengths
        return ((means - change) / rates[:, None])[:, self.frames]

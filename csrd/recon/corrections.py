"""Attenuation factors and randoms rates."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.io.volume import Volume
from csrd.scanner.geometry import Scanner
from csrd.scanner.projector import forward

RANDOMS_SMOOTHING_CRYSTALS = 2.0


@dataclass(frozen=True)
class Prompts:
    """Every n-th prompt of a scan, neighbours first, and what is known of their lines without an image.

    `factors` is g · a · ε in mm²; a true activity of 1 Bq/mL along 1 mm of a line means `exposure` times its
    factor counts.
    """

    crystals: np.ndarray  # (N, 2)
    randoms: np.ndarray  # (N,) expected on the event's line
    factors: np.ndarray  # (N,)
    exposure: float
    total_randoms: float  # of the scan
    every: int  # n

    @property
    def emitted(self) -> float:
        """Return the scan's number of true and scattered coincidences."""
        return max(self.every * len(self.crystals) - self.total_randoms, 0.0)

    def additive(self, scatter: np.ndarray | None) -> np.ndarray:
        """Return c of OP-OSEM, (N,) float32 in Bq/mL · mm, with scatter expected on the events' lines."""
        expected = self.randoms if scatter is None else self.randoms + scatter
        return (expected / (self.exposure * self.factors)).astype(np.float32)


def attenuation_factors(mumap: Volume, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the probability that both photons leave the body, (N,) float32 in 0 … 1.

    `mumap` is in 1/cm; starts and ends are (N, 3) mm.
    """
    per_mm = mumap.array / 10
    return np.exp(-forward(per_mm, mumap.affine[:3, 3], mumap.voxel_mm, starts, ends))


def randoms_rates(fans: np.ndarray, scanner: Scanner, efficiencies: np.ndarray) -> np.ndarray:
    """Return s (C,) such that s_a · s_b is the expected number of randoms of line (a, b) in the file.

    `fans` (C,) counts each crystal's delayeds, a delayed counting for both its crystals.
    Randoms of a pair are proportional to the product of its crystals' singles. A crystal's number
    of delayeds is s_a times the sum of s over the heads and rings it coincides with; the sums of each
    head's rings are solved for first. What is left after dividing by efficiency is smooth inside a
    layer, and is smoothed, which lowers the error per crystal from 16 % to 2.5 % at 2.5e6 delayeds.
    """
    fans = fans.reshape(scanner.heads, scanner.layers, scanner.rings, scanner.columns)
    partners = _partners(_ring_sums(fans.sum(axis=(1, 3)), scanner), scanner)
    rates = fans / np.maximum(partners, 1e-12)[:, None, :, None]
    return _smoothed(rates, scanner, efficiencies)


def _partners(sums: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return for each head and ring the sum (H, R) over all heads and rings it coincides with."""
    heads = np.zeros((scanner.heads, scanner.heads))
    a, b = scanner.head_pairs.T
    heads[a, b] = heads[b, a] = 1
    ring = np.arange(scanner.rings)
    near = abs(ring[:, None] - ring) <= scanner.max_ring_difference
    return heads @ sums @ near


def _ring_sums(fans: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return the sums S of s over a head's rings, (H, R): fans = S · partners(S), by damped fixed point."""
    pairs = _partners(np.ones_like(fans), scanner).sum()
    sums = np.full(fans.shape, np.sqrt(max(fans.sum(), 1e-12) / pairs))
    for _ in range(200):
        sums = np.sqrt(sums * fans / np.maximum(_partners(sums, scanner), 1e-12))
    return sums


def _smoothed(rates: np.ndarray, scanner: Scanner, efficiencies: np.ndarray) -> np.ndarray:
    """Return the rates with their ratio to the efficiencies smoothed over each layer of each head."""
    shape = (scanner.heads, scanner.layers, scanner.rings, scanner.columns)
    sigma = (0, 0, RANDOMS_SMOOTHING_CRYSTALS, RANDOMS_SMOOTHING_CRYSTALS)
    alive = efficiencies.reshape(shape)
    summed = gaussian_filter(rates.reshape(shape), sigma, mode="nearest")
    weight = gaussian_filter(alive.astype(np.float64), sigma, mode="nearest")
    return (alive * summed / np.maximum(weight, 1e-12)).ravel()

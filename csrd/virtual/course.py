"""Course of a dynamic scan: when the decays of each region happen, in steps that end where frames do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from csrd.io.volume import Volume
from csrd.virtual.anatomy import Anatomy
from csrd.virtual.kinetics import Kinetics
from csrd.virtual.regions import REGIONS
from csrd.virtual.spots import Spot
from csrd.virtual.tracer import Tracer, activity

STEP_S, STEP_OF_TIME = 5.0, 0.05
"""No step is longer than this, or than this fraction of the time since the injection."""


@dataclass(frozen=True)
class Course:
    """The fraction of each label's decays in each step of a scan.

    `edges_s` (S + 1,) are whole milliseconds after the scan's start, which is the injection; `fractions`
    (S, L) of label 0 (air) … sum to 1 over the steps. Within a step the activity only decays.
    """

    labels: Volume
    edges_s: np.ndarray
    fractions: np.ndarray

    @classmethod
    def of(
        cls, labels: Volume, kinetics: Kinetics, half_life_s: float, frames_s: Sequence[float]
    ) -> "Course":
        """Return the course of a scan with frames of these durations, from the injection on.

        The decays of a step are exact, hence those of each frame are.
        """
        edges = steps(frames_s)
        decays = np.zeros((len(edges) - 1, max(REGIONS.values()) + 1))
        for region, label in REGIONS.items():
            decays[:, label] = kinetics.curve(region).integral(edges, np.log(2) / half_life_s)
        return cls(labels, edges, decays / np.maximum(decays.sum(axis=0), 1e-300))

    def of_voxels(self, centres: np.ndarray) -> np.ndarray:
        """Return the labels (V,) of voxels by their centres (V, 3) in mm, on the labels' own grid."""
        index = (centres - self.labels.affine[:3, 3]) @ np.linalg.inv(self.labels.affine[:3, :3]).T
        return self.labels.array[tuple(np.rint(index).astype(int).T)]


def steps(frames_s: Sequence[float]) -> np.ndarray:
    """Return the edges in s of a scan's steps: each frame is divided into equal ones, rounded to ms."""
    edges = [0.0]
    for duration in frames_s:
        begin = edges[-1]
        count = int(np.ceil(duration / max(STEP_S, STEP_OF_TIME * begin)))
        edges += list(np.round(np.linspace(begin, begin + duration, count + 1)[1:], 3))
    return np.array(edges)


def mean_uptake(kinetics: Kinetics, half_life_s: float, duration_s: float) -> dict[str, float]:
    """Return each region's SUV in the mean over the decays of a scan from the injection on.

    It is what a static image of the scan shows, which is corrected for decay as one frame.
    """
    rate, whole = np.log(2) / half_life_s, np.array([0.0, duration_s])
    return {region: float(kinetics.means(region, whole, rate)[0]) for region in REGIONS}


def mean_activity(
    anatomy: Anatomy,
    tracer: Tracer,
    seed: int,
    subject: str,
    injected_MBq: float,
    weight_kg: float,
    duration_s: float,
    tested: bool = False,
) -> tuple[Volume, list[Spot]]:
    """Return the mean activity of a dynamic scan in Bq/mL, decay-corrected to its start, and its spots.

    The mean is that of `mean_uptake`. Variation and spots are those of `csrd.virtual.tracer.activity`:
    factors of a voxel's whole curve, which change its BP_ND + 1 and R1 alike.
    """
    assert tracer.kinetics is not None, "a dynamic scan's tracer has kinetics"
    even = replace(tracer, suv=dict.fromkeys(REGIONS, 1.0))
    factors, spots = activity(anatomy, even, seed, subject, injected_MBq, weight_kg, 0.0, tested)
    table = np.zeros(max(REGIONS.values()) + 1, np.float32)
    for region, suv in mean_uptake(tracer.kinetics, tracer.half_life_s, duration_s).items():
        table[REGIONS[region]] = suv
    return factors.like(factors.array * table[anatomy.labels.array], "Bq/mL"), spots


def binding(
    activity: Volume, labels: Volume, tracer: Tracer, duration_s: float, reference: str | None = None
) -> dict[str, float]:
    """Return BP_ND of each region as it was put into a subject's `activity`: that of its mean curve.

    The mean of voxels that are factors of one curve is that curve times the factors' mean, so that for a
    region 1 + BP_ND is the table's, times the region's mean factor over the reference region's. Against
    another `reference` than the tracer's it is divided by that region's: a ratio of distribution volumes.
    """
    assert tracer.kinetics is not None, "a dynamic scan's tracer has kinetics"
    usual = mean_uptake(tracer.kinetics, tracer.half_life_s, duration_s)
    means = {name: float(activity.array[labels.array == label].mean(dtype=float)) / usual[name]
             for name, label in REGIONS.items()}  # fmt: skip
    reference, bp = reference or tracer.kinetics.reference, tracer.kinetics.bp
    return {name: means[name] / means[reference] * (1 + bp[name]) / (1 + bp[reference]) - 1
            for name in REGIONS}  # fmt: skip

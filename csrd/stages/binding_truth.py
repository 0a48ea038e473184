"""What is put into a dynamic virtual scan: regions, curves and BP_ND."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csrd.align.head import head_mask
from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.kinetics.curves import region_means
from csrd.metrics.regions import LEFT_OUT, region_masks
from csrd.metrics.truth import blurred, resolution
from csrd.virtual.course import binding, mean_uptake
from csrd.virtual.regions import REGIONS
from csrd.virtual.tracer import Tracer

WITHOUT_BINDING = ("white_matter",)

Curves = dict[str, np.ndarray]


@dataclass(frozen=True)
class Truth:
    """The true regions, curves and BP_ND of a virtual subject, on the grid of its images.

    `labels` (X, Y, Z) are those of `names`; `voxels` counts them. `put_in` is BP_ND by region; `sharp` and
    `resolved` are noise-free curves in Bq/mL of the regions, as frames corrected for decay have them: before
    any blur on the phantom's grid, and at the images' resolution of `fwhm_mm` on theirs.
    """

    labels: np.ndarray
    names: Mapping[int, str]
    reference: str
    put_in: Mapping[str, float]
    sharp: Curves
    resolved: Curves
    fwhm_mm: float

    @classmethod
    def of(
        cls,
        activity: Volume,
        labels: Volume,
        tracer: Tracer,
        edges: np.ndarray,
        mean: Volume,
        reference: str | None = None,
    ) -> "Truth":
        """Return the truth of a subject whose normal dose has the image `mean`; frames between `edges`.

        The `reference` region is the tracer's own where none is named.
        Raises InputError where it has no voxel of the image.
        """
        assert tracer.kinetics is not None, "a dynamic scan's tracer has kinetics"
        reference = region_named(reference) if reference else tracer.kinetics.reference
        duration = float(edges[-1])
        fwhm_mm = resolution(activity, mean, head_mask(mean))
        left_out = set(WITHOUT_BINDING) - {reference}
        masks = region_masks(labels, mean)
        masks = {name: mask for name, mask in masks.items() if mask.any() and name not in left_out}
        if reference not in masks:
            raise InputError(f"no voxel lies in the reference {reference}; change kinetics.reference")
        usual = mean_uptake(tracer.kinetics, tracer.half_life_s, duration)
        rate = np.log(2) / tracer.half_life_s
        shapes = {name: tracer.kinetics.means(name, edges, rate) / usual[name] for name in REGIONS}
        sharp = {
            name: activity.array[labels.array == REGIONS[name]].mean(dtype=float) * shapes[name]
            for name in masks
        }
        resolved = {name: np.zeros(len(edges) - 1) for name in masks}
        for source, label in REGIONS.items():
            alone = activity.like(np.where(labels.array == label, activity.array, np.float32(0)))
            image = blurred(alone, mean, fwhm_mm)
            for name, mask in masks.items():
                resolved[name] += image[mask].mean(dtype=float) * shapes[source]
        found = np.zeros(mean.shape, np.uint8)
        for name, mask in masks.items():
            found[mask] = REGIONS[name]
        names = {REGIONS[name]: name for name in masks}
        put_in = binding(activity, labels, tracer, duration, reference)
        return cls(found, names, reference, put_in, sharp, resolved, fwhm_mm)

    @property
    def targets(self) -> list[str]:
        """Return the regions whose BP_ND is estimated."""
        return [name for name in self.names.values() if name != self.reference]

    def curves(self, frames: Sequence[np.ndarray]) -> Curves:
        """Return the regions' means (N,) in frames (X, Y, Z) each."""
        values, voxels = region_means(frames, self.labels, self.names)
        return dict(zip(voxels, values.T, strict=True))


def region_named(name: str) -> str:
    """Return a region of the virtual cohort by its name, with a space or an underscore between words.

    Raises InputError where there is no such region of the brain.
    """
    known = [key for key in REGIONS if key not in LEFT_OUT]
    if (found := name.replace(" ", "_")) not in known:
        raise InputError(
            f"kinetics.reference is {name!r}; for virtual subjects use one of {', '.join(known)}"
        )
    return found

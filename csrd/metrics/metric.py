"""Base class of the metrics, and the reference that they compare with."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.io.volume import Volume, refuse_other_grid

IN_PLANE_MULTIPLE = 16  # pixels per feature of a VGG after four poolings


@dataclass(frozen=True)
class Reference:
    """The normal-dose image `pet` and the head `mask` (X, Y, Z) bool in which it is compared.

    `low` is the low-dose image that was denoised; only the protocol `released` needs it.
    """

    pet: Volume
    mask: np.ndarray
    low: Volume | None = None

    def __post_init__(self) -> None:
        if self.mask.shape != self.pet.shape:
            raise InputError(
                f"the mask has shape {self.mask.shape} and the reference {self.pet.shape}; "
                "take the mask made from this reference"
            )
        if not self.mask.any():
            raise InputError("the head mask is empty; make it again from the reference")
        _refuse_not_finite(self.pet.array, "the reference")
        if self.data_range <= 0:
            raise InputError("the reference has no voxel above zero inside the mask; check that it is PET")

    @cached_property
    def data_range(self) -> float:
        """Return the reference's maximum inside the mask, in its unit: the data range of every metric."""
        return float(self.pet.array[self.mask].max())

    @cached_property
    def low_maximum(self) -> float:
        """Return the low-dose image's maximum, in its unit.

        Raises InputError where it is not above zero, or on another grid than the reference.
        """
        if self.low is None:
            raise InputError(
                "the protocol released divides by the low dose's maximum; give the low-dose image"
            )
        refuse_other_grid(self.low, self.pet, "the low dose", "the reference", "resample it")
        _refuse_not_finite(self.low.array, "the low dose")
        if (maximum := float(self.low.array.max())) <= 0:
            raise InputError("the low dose has no voxel above zero; check that it is PET")
        return maximum

    @property
    def axial_axis(self) -> int:
        """Return the array axis along which axial slices are stacked: the one nearest to the world's z."""
        return int(np.argmax(np.abs(self.pet.affine[2, :3]) / self.pet.voxel_mm))

    @cached_property
    def mask_slices(self) -> np.ndarray:
        """Return the mask in `slices`, (N, H, W) bool."""
        return self._cropped(self._stack(self.mask))

    def slices(self, array: np.ndarray) -> np.ndarray:
        """Return the axial slices that hold voxels of the mask, (N, H, W) in the array's unit.

        Seen from below with the front up (H from anterior, W from left to right), independent of the order
        of the array's axes; cropped to the mask's bounding box, which is grown to multiples of 16 pixels;
        voxels outside the mask are 0.
        """
        return np.where(self.mask_slices, self._cropped(self._stack(array)), 0)

    def _stack(self, array: np.ndarray) -> np.ndarray:
        return self.pet.upright(array).transpose(2, 1, 0)[:, ::-1]

    @cached_property
    def _box(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Return which slices hold the mask, and (first, last + 1) row and column of the grown box.

        The box is grown on both sides alike and may reach beyond the image.
        """
        stack = self._stack(self.mask)
        bounds = []
        for axis in (1, 2):
            where = np.flatnonzero(stack.any(axis=tuple({0, 1, 2} - {axis})))
            first, length = int(where[0]), int(where[-1] - where[0] + 1)
            grown = -(-length // IN_PLANE_MULTIPLE) * IN_PLANE_MULTIPLE
            first -= (grown - length) // 2
            bounds.append((first, first + grown))
        return np.asarray(stack.any(axis=(1, 2))), bounds

    def _cropped(self, stack: np.ndarray) -> np.ndarray:
        kept, bounds = self._box
        inside = [slice(max(a, 0), b) for a, b in bounds]
        beyond = [(max(-a, 0), max(b - n, 0)) for (a, b), n in zip(bounds, stack.shape[1:], strict=True)]
        return np.pad(stack[kept][:, *inside], [(0, 0), *beyond])


class Metric(ABC):
    """A metric of images against one reference, whose features are computed once, at construction.

    `data_range` and `domain` describe the range and the voxels of the metric; `settings` name the networks.
    """

    key: ClassVar[str]
    label: ClassVar[str]
    unit: ClassVar[str]
    decimals: ClassVar[int]
    lower_better: ClassVar[bool]
    data_range: ClassVar[str]
    domain: ClassVar[str]

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        self.reference, self.settings = reference, settings

    def __call__(self, image: Volume) -> float:
        """Return the metric's value for an image on the reference's grid and in its unit.

        Raises InputError where the grids or units differ or a voxel is not finite.
        """
        pet = self.reference.pet
        refuse_other_grid(image, pet, "the image", "the reference", "resample it")
        if image.unit and pet.unit and image.unit != pet.unit:
            raise InputError(
                f"the image is in {image.unit} and the reference in {pet.unit}; convert one of them"
            )
        _refuse_not_finite(image.array, "the image")
        return float(self.compute(image.array))

    @abstractmethod
    def compute(self, array: np.ndarray) -> float:
        """Return the value for a finite array (X, Y, Z) on the reference's grid."""


def _refuse_not_finite(array: np.ndarray, what: str) -> None:
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise InputError(f"{what} has {bad} voxels that are not finite; replace them, e.g. by 0")

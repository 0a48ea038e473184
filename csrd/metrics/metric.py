"""What every metric shares: the reference it compares with, its checks, and what it says about itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from csrd.errors import InputError
from csrd.volume import Volume


@dataclass(frozen=True)
class Reference:
    """The normal-dose image `pet` and the head `mask` (X, Y, Z) bool in which it is compared."""

    pet: Volume
    mask: np.ndarray

    def __post_init__(self) -> None:
        if self.mask.shape != self.pet.shape:
            raise InputError(
                f"the mask has shape {self.mask.shape} and the reference {self.pet.shape}; "
                "take the mask made from this reference"
            )
        if not self.mask.any():
            raise InputError("the head mask is empty; make it anew from the reference")
        _refuse_not_finite(self.pet.array, "the reference")
        if self.data_range <= 0:
            raise InputError("the reference has no voxel above zero inside the mask; check that it is PET")

    @property
    def data_range(self) -> float:
        """Return the reference's maximum inside the mask, in its unit: the peak of PSNR and SSIM."""
        return float(self.pet.array[self.mask].max())

    @property
    def axial_axis(self) -> int:
        """Return the array axis along which axial slices are stacked: the one nearest to the world's z."""
        return int(np.argmax(np.abs(self.pet.affine[2, :3]) / self.pet.voxel_mm))


class Metric(ABC):
    """A number that says how near an image is to one reference, whose features are computed once, here.

    `data_range` and `domain` say in words what the value is relative to and over which voxels it is taken.
    """

    key: ClassVar[str]
    label: ClassVar[str]
    unit: ClassVar[str]
    decimals: ClassVar[int]
    lower_better: ClassVar[bool]
    data_range: ClassVar[str]
    domain: ClassVar[str]

    def __init__(self, reference: Reference) -> None:
        self.reference = reference

    def __call__(self, image: Volume) -> float:
        """Return the metric's value for an image on the reference's grid and in its unit.

        Raises InputError where the grids or units differ or a voxel is not finite.
        """
        pet = self.reference.pet
        if not image.same_grid(pet):
            raise InputError(
                f"the image has a grid of {image.shape} voxels other than the reference's {pet.shape}; "
                "resample it onto the reference"
            )
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

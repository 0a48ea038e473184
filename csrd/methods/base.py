"""What every denoising method offers, and what it is fitted on."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from csrd.errors import InputError
from csrd.io.files import read_json, write_json
from csrd.io.volume import Volume

MODEL_FILE = "model.json"
VOXEL_TOLERANCE = 0.03
"""Relative; voxels of sizes nearer than this are taken for equal."""


@dataclass(frozen=True)
class TrainingPair:
    """One subject at one dose: a low-dose image and the normal-dose one, on one grid with MR and head mask.

    Each image is a Volume, or the path of one that is loaded when asked for. `split` says what it may be
    used for: "train" to fit parameters, "validation" to choose.
    """

    subject: str
    drf: int
    low: Volume | str | Path
    normal: Volume | str | Path
    mr: Volume | str | Path | None
    mask: Volume | str | Path
    split: str = "train"

    def load(self) -> "TrainingPair":
        """Return the pair with its images in memory.

        Raises InputError where they are not on one grid.
        """
        low, normal, mr = (_loaded(image) for image in (self.low, self.normal, self.mr))
        mask = _loaded(self.mask, unit="mask")
        for name, image in (("normal-dose image", normal), ("MR", mr), ("mask", mask)):
            if image is not None and not image.same_grid(low):
                raise InputError(
                    f"{self.subject}: the {name} is not on the grid of the low-dose image; align them first"
                )
        return TrainingPair(self.subject, self.drf, low, normal, mr, mask, self.split)


class Method(ABC):
    """A denoiser of PET volumes; `key` stands in configuration, tables and file names."""

    key: ClassVar[str]
    label: ClassVar[str]
    learns_together: ClassVar[bool] = False
    """Whether `fit` shares its work where torchrun has started several processes."""
    wants_mr: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def fit(cls, pairs: list[TrainingPair], settings: dict, out_dir: Path, *, threads: int = 1) -> None:
        """Fit the method and write what `load` needs into `out_dir`, ``model.json`` last."""

    @classmethod
    @abstractmethod
    def load(cls, model_dir: Path) -> Self:
        """Return the method as `fit` left it in `model_dir`."""

    @abstractmethod
    def apply(self, low: Volume, mr: Volume | None, drf: float) -> Volume:
        """Return the denoised image: same grid and unit as `low`, nowhere negative.

        `low` is scaled to normal dose; `mr` is on its grid or None; `drf` is its dose reduction factor.
        """

    def apply_with_spread(self, low: Volume, mr: Volume | None, drf: float) -> tuple[Volume, Volume]:
        """Return the image of `apply`, and the standard deviation of the normal dose around it.

        Raises InputError for a method that gives none: its settings do not have `has_spread`.
        """
        raise InputError(f"{self.key} gives no standard deviation; leave it out, or use csrd")

    def estimate_drf(self, low: Volume) -> float:
        """Return the dose reduction factor that the noise in a scan speaks of.

        Raises InputError for a method that cannot tell.
        """
        raise InputError(f"{self.key} must be told the dose reduction factor; give --drf")

    def use(self, **choices: object) -> None:
        """Override what was settled in fitting, for a user who asks for something else on one scan.

        Raises InputError where the method has no such choice.
        """
        if choices:
            raise InputError(f"{self.key} has no choice of {', '.join(choices)}; leave it out")

    @property
    def draws_samples(self) -> bool:
        """Return whether the image is made of samples of a distribution."""
        return False

    @property
    def largest_drf(self) -> float:
        """Return the dose reduction factor beyond which it has learned nothing."""
        return math.inf

    @property
    def voxel_mm(self) -> np.ndarray | None:
        """Return the voxel (3,), in mm of an upright volume, that it was fitted to; None: any is right."""
        return None

    def move(self, device: str) -> None:
        """Compute on "cpu", on "cuda", or, with "auto", on a GPU if there is one.

        Raises InputError where that cannot be.
        """
        if device == "cuda":
            raise InputError(f"{self.key} computes on the CPU; leave the device out")

    def facts(self) -> dict:
        """Return what the sidecar of an image says about how it was made, beside the method's label."""
        return {}

    @classmethod
    def write_model(cls, out_dir: Path, content: dict) -> None:
        """Write ``model.json``, which marks a fitted method."""
        write_json(Path(out_dir) / MODEL_FILE, {"method": cls.key, **content})

    @classmethod
    def read_model(cls, model_dir: Path) -> dict:
        """Return ``model.json``.

        Raises InputError where it is missing, damaged or another method's.
        """
        path = Path(model_dir) / MODEL_FILE
        content = read_json(path)
        if content.get("method") != cls.key:
            raise InputError(f"{path} is of {content.get('method')}, not of {cls.key}; give its own folder")
        return content


def robust_scale(volume: Volume, mask: np.ndarray, percentile: float = 99.9) -> float:
    """Return a percentile of the volume inside the mask: a scale that no single hot voxel sets.

    Raises InputError where it is not above zero.
    """
    scale = float(np.percentile(volume.array[mask], percentile))
    if scale <= 0:
        raise InputError("the PET image is empty inside the head; check that it is the right file")
    return scale


def _loaded(image: Volume | str | Path | None, unit: str | None = None) -> Volume | None:
    return image if image is None or isinstance(image, Volume) else Volume.load(image, unit)

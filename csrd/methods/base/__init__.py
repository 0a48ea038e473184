"""The interface of a denoising method, and its training pairs.

Reading the configuration imports this module and each method's file: they import numpy and pydantic only, and
heavier packages inside functions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from csrd.config.sections import Augment, Metrics
from csrd.errors import InputError
from csrd.io.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from csrd.config.methods import MethodSettings
    from csrd.io.volume import Volume

MODEL_FILE = "model.json"
CONTROLS = {"normal": "Normal dose", "truth": "Truth", "oracle": "Oracle", "painted": "Painted"}
"""Names of the tables' control rows that no method makes, by key, in their order (see `Method.control`)."""
CONTROLS_OF_TRUTH = ("normal", "painted")
"""Those of them that are compared with the truth."""
VOXEL_TOLERANCE = 0.03
"""Relative difference up to which voxel sizes count as equal."""


@dataclass(frozen=True)
class TrainingPair:
    """One subject at one dose: a low-dose image and the normal-dose one, on one grid with MR and head mask.

    Each image is a Volume, or a path that `load` reads. `split` is "train" for fitting or "validation" for
    selection.
    """

    subject: str
    drf: int
    low: Volume | str | Path
    normal: Volume | str | Path
    mr: Volume | str | Path | None
    mask: Volume | str | Path
    split: str = "train"

    def load(self) -> LoadedPair:
        """Return the pair with its images in memory.

        Raises InputError where they are not on one grid.
        """
        from csrd.io.volume import refuse_other_grid

        low, normal, mask = _loaded(self.low), _loaded(self.normal), _loaded(self.mask, unit="mask")
        mr = None if self.mr is None else _loaded(self.mr)
        for name, image in (("normal-dose image", normal), ("MR", mr), ("mask", mask)):
            if image is not None:
                what = f"{self.subject}: the {name}"
                refuse_other_grid(image, low, what, "the low-dose image", "align them first")
        return LoadedPair(self.subject, self.drf, low, normal, mr, mask, self.split)


@dataclass(frozen=True)
class LoadedPair(TrainingPair):
    """A training pair with its images in memory."""

    low: Volume
    normal: Volume
    mr: Volume | None
    mask: Volume


@dataclass(frozen=True)
class FitContext:
    """Arguments of a fit beside the method's settings.

    `seed` is that of every random generator; `metrics` are used for selection on validation subjects;
    `augment` says how learned methods change their training patches.
    """

    seed: int
    metrics: Metrics = Metrics()
    threads: int = 1
    augment: Augment = Augment()


class Method(ABC):
    """A denoiser of PET volumes; `key` is its name in configuration, tables and file names."""

    key: ClassVar[str]
    label: ClassVar[str]
    """Its name in tables and figures."""
    Settings: ClassVar[type[MethodSettings] | None] = None
    """The class of its block in the configuration; None for a method that is not fitted."""
    like: ClassVar[str] = ""
    """Another method, whose block its own block starts from."""
    row: ClassVar[int] = 100
    """Its position among the table's rows; methods of one position are in the order of `methods`."""
    wants_mr: ClassVar[bool] = False
    """True if it needs an MR: it is then left out for subjects without one."""
    predicts_std: ClassVar[bool] = False
    """True if it predicts a standard deviation beside its image."""
    extra: ClassVar[str] = ""
    """The extra of csrd, if any, with the packages that it needs (see `csrd.extras`)."""
    selects: ClassVar[bool] = False
    """True if `fit` selects a setting on validation subjects by `FitContext.metrics`."""
    control: ClassVar[bool] = False
    """True for a control row of the tables: set apart, never the best of a column, in no test."""
    trained: ClassVar[bool] = False
    """True if `fit` trains step by step, writes ``history.jsonl`` and can run in several processes."""

    @classmethod
    @abstractmethod
    def fit(cls, pairs: list[TrainingPair], settings: Any, out_dir: Path, context: FitContext) -> None:
        """Fit the method and write it into `out_dir`, ``model.json`` last.

        `settings` is an instance of `Settings`.
        """

    @classmethod
    @abstractmethod
    def load(cls, model_dir: Path) -> Self:
        """Return the method that `fit` wrote into `model_dir`."""

    @abstractmethod
    def apply(self, low: Volume, mr: Volume | None, drf: float | None) -> Volume:
        """Return the denoised image: same grid and unit as `low`, nowhere negative.

        `low` is scaled to the normal dose; `mr` is on the same grid, or None; `drf` is the dose reduction
        factor of `low`, None only for a method that `measures_noise`.
        """

    def apply_with_std(self, low: Volume, mr: Volume | None, drf: float | None) -> tuple[Volume, Volume]:
        """Return the image of `apply`, and the standard deviation of the normal dose around it.

        Raises InputError for a method without `predicts_std`.
        """
        raise InputError(f"{self.key} predicts no standard deviation; do not request it, or use csrd")

    def estimate_drf(self, low: Volume) -> float:
        """Return the dose reduction factor, estimated from the noise in a scan.

        Raises InputError for a method that cannot estimate it.
        """
        raise InputError(f"{self.key} needs the dose reduction factor; give --drf")

    def use(self, **choices: object) -> None:
        """Override settings of the fitted method, as requested for one scan.

        Raises InputError where the method has no such setting.
        """
        if choices:
            raise InputError(f"{self.key} has no option {', '.join(choices)}; leave it out")

    @property
    def draws_samples(self) -> bool:
        """Return whether the image is computed from samples of a distribution."""
        return False

    @property
    def largest_drf(self) -> float:
        """Return the highest dose reduction factor that it was fitted on."""
        return math.inf

    @property
    def measures_noise(self) -> bool:
        """Return whether it measures the noise in the image instead of using the dose reduction factor."""
        return False

    @property
    def sees_only_head(self) -> bool:
        """Return whether it is shown only the part of a scan around its head."""
        return False

    def doubts(self, low: Volume, mr: Volume | None) -> list[str]:
        """Return how a scan and its MR differ from the training data, in sentences without its name."""
        return []

    def doubts_of_scan(self, scan: Volume) -> list[str]:
        """Return what is wrong with a scan on its own voxels, in such sentences."""
        return []

    def doubts_after(self, low: Volume, image: Volume, inside: np.ndarray) -> list[str]:
        """Return what is wrong with a denoised image of a scan, in the mask `inside`, in such sentences."""
        return []

    def voxel_for(self, voxel_mm: np.ndarray) -> np.ndarray | None:
        """Return the voxel size (3,) in mm that a volume is resampled to before denoising; None: its own."""
        return None

    def move(self, device: str) -> None:
        """Use the device "cpu", "cuda" or, with "auto", a GPU if there is one.

        Raises InputError where the device cannot be used.
        """
        if device == "cuda":
            raise InputError(f"{self.key} computes on the CPU; leave the device out")

    def facts(self) -> dict:
        """Return the method's settings for the sidecar of an image."""
        return {}

    @classmethod
    def write_model(cls, out_dir: Path, content: dict) -> None:
        """Write ``model.json``, which marks a fitted method."""
        write_json(out_dir / MODEL_FILE, {"method": cls.key, **content})

    @classmethod
    def read_model(cls, model_dir: Path) -> dict:
        """Return ``model.json``.

        Raises InputError where it is missing, damaged or another method's.
        """
        path = model_dir / MODEL_FILE
        content = read_json(path)
        if content.get("method") != cls.key:
            raise InputError(
                f"{path} is of {content.get('method')}, not of {cls.key}; give a folder of {cls.key}"
            )
        return content


def robust_scale(volume: Volume, mask: np.ndarray, percentile: float = 99.9) -> float:
    """Return a percentile of the volume inside the mask, a scale that is robust to single hot voxels.

    Raises InputError where it is not above zero.
    """
    scale = float(np.percentile(volume.array[mask], percentile))
    if scale <= 0:
        raise InputError("the PET image is empty inside the head; check that it is the right file")
    return scale


def _loaded(image: Volume | str | Path, unit: str | None = None) -> Volume:
    from csrd.io.volume import Volume

    return image if isinstance(image, Volume) else Volume.load(image, unit)

"""Base class of methods with a trained network: settings, calibration, weights and model card."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import ValidationError

from csrd.config.messages import sentence
from csrd.config.methods import LearnedSettings
from csrd.config.sections import Augment, Section
from csrd.errors import InputError
from csrd.methods.base import MODEL_FILE, FitContext, LoadedPair, Method, TrainingPair
from csrd.methods.learned.scaling import Head, mr_channel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from csrd.config.sections import Metrics
    from csrd.io.volume import Volume
    from csrd.train.patches import Batch, Patches, Scan

WEIGHTS_FILE, HISTORY_FILE = "weights.safetensors", "history.jsonl"


def weights_of(model_dir: Path, card: dict[str, Any]) -> Path:
    """Return the file of a fitted model's weights; the packaged models share one, which `card` names."""
    return model_dir / str(card.get("weights", WEIGHTS_FILE))


class LearnedCalibration(Section):
    """Measurements on the training pairs, made before the training."""

    voxel_mm: tuple[float, float, float] | None = None
    """The voxel size of the training images, in mm."""


class Learned(Method):
    """A network with the settings of its training and its calibration.

    A subclass defines the network, its residual's unit, its loss and its patches. The card, ``model.json``,
    holds the settings that a fitted model needs, by part: those in `preprocessing` and `inference`, and as
    its architecture all others but those in `training_only`.
    """

    trained = True
    wants_mr = True
    Settings: ClassVar[type[LearnedSettings]]
    Calibration: ClassVar[type[LearnedCalibration]] = LearnedCalibration
    preprocessing: ClassVar[tuple[str, ...]] = ()
    inference: ClassVar[tuple[str, ...]] = ("mirror", "shift")
    training_only: ClassVar[tuple[str, ...]] = ("mixed", "training")
    after_training: ClassVar[tuple[str, ...]] = ()
    """Settings that no weight depends on: changing them does not train again."""

    settings: LearnedSettings
    calibration: LearnedCalibration
    augment = Augment()
    """Changes of the training patches, set by `fit`."""
    network: nn.Module
    """The network with trained weights; absent before the training."""

    def __init__(
        self,
        settings: LearnedSettings,
        calibration: LearnedCalibration | None = None,
        seed: int = 0,
        *,
        network: nn.Module | None = None,
        card: dict[str, Any] | None = None,
    ) -> None:
        """Hold settings and calibration; `network` where there are weights, with the `card` beside them."""
        from csrd.train.device import pick_device

        self.settings, self.calibration, self.seed = settings, calibration or LearnedCalibration(), seed
        self.card, self.device = card or {}, pick_device()
        if network is not None:
            self.network = network.to(self.device).eval()

    @classmethod
    def calibrated(cls, pairs: list[LoadedPair], settings: Any) -> LearnedCalibration:
        """Return what is measured on the training pairs."""
        return LearnedCalibration(voxel_mm=pairs[0].low.voxel_mm.tolist())

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network, with its initial weights."""

    @abstractmethod
    def residual_unit(self, low: Volume, head: Head, drf: float | None) -> float:
        """Return the size of one unit of the network's residual, in the PET's unit."""

    @abstractmethod
    def losses(self, batch: Batch) -> Tensor:
        """Return the loss of each patch, (B,)."""

    @abstractmethod
    def patches(self, scans: list[Scan]) -> Patches:
        """Return the source of training patches."""

    def patches_of(self, scans: list[Scan], size: tuple[int | None, int | None, int | None]) -> Patches:
        """Return patches of a size in voxels (None: a whole axis), mixed and changed as the settings say."""
        from csrd.train.augment import Augmentation
        from csrd.train.patches import Patches

        augment = self.augment
        return Patches(
            scans,
            size,
            self.seed,
            coordinates=self.coordinates,
            mixed=self.mixed_fraction,
            mixed_beyond=augment.mixed_beyond,
            augmentation=Augmentation(
                augment.lesions,
                augment.lesion_fwhm_mm,
                augment.mr_shift_mm,
                augment.mr_missing,
                self.mr_channel,
            ),
        )

    @property
    def coordinates(self) -> bool:
        """Return whether a voxel's coordinates are inputs of the network."""
        return False

    @property
    def mixed_fraction(self) -> float:
        """Return the fraction of training patches whose noise is mixed from several doses."""
        return self.settings.mixed

    @property
    def mr_channel(self) -> int | None:
        """Return the input channel of the MR; None: the network has none."""
        return 1 if self.wants_mr else None

    def estimator(self, pair: LoadedPair) -> Callable[[], np.ndarray]:
        """Return a function that denoises an upright pair with the weights at the time of the call."""
        return lambda: self.apply(pair.low, pair.mr, pair.drf).array

    def smallest_edge(self) -> int:
        """Return the edge in voxels of the smallest feature maps in training (see `precision`)."""
        from csrd.train.device import EDGE

        return EDGE

    def select(self, validation: list[LoadedPair], metrics: Metrics) -> dict[str, Any]:
        """Return the settings selected on the validation pairs with the final weights, for the model card."""
        return {}

    def trained_by(self) -> dict[str, Any]:
        """Return the settings that the weights depend on."""
        return self.settings.model_dump(mode="json", exclude=set(self.after_training))

    def inputs(self, low: Volume, mr: Volume | None, head: Head) -> np.ndarray:
        """Return the network's input of a scan, in units that do not depend on the scanner: (C, X, Y, Z).

        Raises InputError for a method that needs an MR where there is none.
        """
        channels = [low.array / np.float32(head.scale)]
        if self.wants_mr:
            if mr is None and not self.card.get("augment", {}).get("mr_missing"):
                raise InputError(f"{self.key} needs the MR; give it with --mr, or use a method without MR")
            channels.append(np.zeros_like(channels[0]) if mr is None else mr_channel(mr, low, head))
        return np.stack(channels).astype(np.float32)

    def scan(self, pair: LoadedPair) -> Scan:
        """Return a training pair in the network's units."""
        import torch

        from csrd.train.patches import Scan

        head = Head.of(pair.low)
        unit = self.residual_unit(pair.low, head, pair.drf)
        target = ((pair.low.array - pair.normal.array) / np.float32(unit)).astype(np.float32)[None]
        return Scan(
            torch.from_numpy(self.inputs(pair.low, pair.mr, head)),
            torch.from_numpy(target),
            self.noise_condition(pair.low, head, pair.drf),
            unit / head.scale,
            subject=pair.subject,
            voxel_mm=tuple(pair.low.voxel_mm.tolist()),
        )

    @classmethod
    def fit(
        cls, pairs: list[TrainingPair], settings: LearnedSettings, out_dir: Path, context: FitContext
    ) -> None:
        """Train on the pairs of split "train", select on those of "validation", write weights and card.

        An interrupted fit continues from its state folder beside `out_dir`; a finished one is not repeated.
        Raises InputError where there is no training pair, or voxels of different sizes.
        """
        from csrd.methods.learned.fitting import fit

        fit(cls, pairs, settings, out_dir, context)

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        """Return the method with the weights in `model_dir`.

        Raises InputError where they are missing, damaged, or of another network than ``model.json`` says.
        """
        from csrd.train.checkpoint import load_weights

        card = cls.read_model(model_dir)
        loaded = cls(*cls._read(card, model_dir / MODEL_FILE), card=card)
        network = loaded.build()
        load_weights(weights_of(model_dir, card), network)
        loaded.network = network.to(loaded.device).eval()
        return loaded

    def card_of(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Return the content of ``model.json``: the settings that a fitted model needs, and `facts`."""
        values = self.settings.model_dump(mode="json", exclude=set(self.training_only))
        parts = {"preprocessing": self.preprocessing, "inference": self.inference}
        named = {name for names in parts.values() for name in names}
        parts = {"architecture": tuple(name for name in values if name not in named)} | parts
        return {
            **{part: {name: values[name] for name in names} for part, names in parts.items()},
            "calibration": self.calibration.model_dump(mode="json"),
            "seed": self.seed,
            **facts,
        }

    @classmethod
    def _read(cls, card: dict[str, Any], path: Path) -> tuple[LearnedSettings, LearnedCalibration, int]:
        """Return settings, calibration and seed of a card; a setting that it lacks has its default.

        Raises InputError where the card is incomplete, or has a setting that this version does not have.
        """
        named = ("architecture", "preprocessing", "inference", "calibration")
        parts = [part for name in named if isinstance(part := card.get(name), dict)]
        if len(parts) < len(named) or not isinstance(card.get("seed"), int):
            raise InputError(f"{path} is not a complete model card; fit the method again")
        values = {name: value for part in parts[:3] for name, value in part.items()}
        if unknown := sorted(values.keys() - cls.Settings.model_fields):
            raise InputError(
                f"{path} has the setting {unknown[0]}, which this version of csrd does not have: it was "
                f"fitted by version {card.get('version')}; update csrd, or fit the method again"
            )
        try:
            return cls.Settings(**values), cls.Calibration(**parts[3]), card["seed"]
        except ValidationError as error:
            kind: type[Section] = cls.Settings if error.title == cls.Settings.__name__ else cls.Calibration
            raise InputError(f"{path}: {sentence(error, kind)}; fit the method again") from None

    @property
    def translations(self) -> tuple[int, ...]:
        """Return the translations in voxels for test-time augmentation."""
        return (0, 1) if self.settings.shift else (0,)

    def voxel_for(self, voxel_mm: np.ndarray) -> np.ndarray | None:
        edges = self.calibration.voxel_mm
        return None if edges is None else np.array(edges)

    def noise_condition(self, low: Volume, head: Head, drf: float | None) -> float:
        """Return the network's noise condition: the log of the dose reduction factor."""
        assert drf is not None, "the dose is an input of this network"
        return float(np.log(drf))

    def move(self, device: str) -> None:
        from csrd.train.device import pick_device

        try:
            self.device = pick_device(device)
        except RuntimeError as error:
            raise InputError(str(error)) from None
        self.network = self.network.to(self.device)

    def facts(self) -> dict:
        return {"WeightsSha256": self.card.get("weights_sha256"), "Seed": self.seed}

"""The low-dose image itself: the table's first row."""

from pathlib import Path
from typing import Self

from csrd.io.volume import Volume
from csrd.methods.base import Method, TrainingPair


class LowDose(Method):
    """No denoising; there is nothing to fit."""

    key, label = "lowdose", "Low-Dose"

    @classmethod
    def fit(cls, pairs: list[TrainingPair], settings: dict, out_dir: Path, *, threads: int = 1) -> None:
        cls.write_model(out_dir, {})

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        return cls()

    def apply(self, low: Volume, mr: Volume | None, drf: float) -> Volume:
        return low


METHOD = LowDose

"""The low-dose image itself: the table's first row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from csrd.methods.base import FitContext, Method, TrainingPair

if TYPE_CHECKING:
    from pathlib import Path

    from csrd.config.methods import MethodSettings
    from csrd.io.volume import Volume


class LowDose(Method):
    """No denoising; there is nothing to fit."""

    key, label, row = "lowdose", "Low-Dose", 0

    @classmethod
    def fit(
        cls, pairs: list[TrainingPair], settings: MethodSettings, out_dir: Path, context: FitContext
    ) -> None:
        cls.write_model(out_dir, {})

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        return cls()

    def apply(self, low: Volume, mr: Volume | None, drf: float | None) -> Volume:
        if low.array.min() >= 0:
            return low
        return low.like(low.array.clip(0))  # nowhere negative, like every method's image


METHOD = LowDose

"""MR alone: CSR-D's network with the PET replaced by the head's mean, a control row of the tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from csrd.methods.base import LoadedPair, TrainingPair
from csrd.methods.csrd import Csrd, CsrdCalibration, CsrdSettings
from csrd.methods.learned.scaling import Head, ResidualDeviation

if TYPE_CHECKING:
    from pathlib import Path

    from csrd.config.methods import LearnedSettings
    from csrd.io.volume import Volume
    from csrd.methods.base import FitContext
    from csrd.train.patches import Patches, Scan


class FlatPair(TrainingPair):
    """A training pair whose low dose is loaded without its structure."""

    def load(self) -> LoadedPair:
        pair = super().load()
        return replace(pair, low=flat(pair.low))


def flat(low: Volume) -> Volume:
    """Return the head's mean everywhere in the head, and 0 outside."""
    head = Head.of(low)
    return low.like(np.where(head.mask, low.array[head.mask].mean(), 0).astype(np.float32))


class MrOnly(Csrd):
    """What the MR alone says: the PET's mean is all that the network learns of it."""

    key, label, row = "mronly", "MR alone", 90
    like = "csrd"
    control = True
    predicts_std = False

    @classmethod
    def fit(
        cls, pairs: list[TrainingPair], settings: LearnedSettings, out_dir: Path, context: FitContext
    ) -> None:
        super().fit([FlatPair(**vars(pair)) for pair in pairs], settings, out_dir, context)

    @classmethod
    def calibrated(cls, pairs: list[LoadedPair], settings: CsrdSettings) -> CsrdCalibration:
        """Return the calibration without the dose from the noise, of which a flat image has none."""
        of_voxels = super(Csrd, cls).calibrated(pairs, settings).model_dump()
        return CsrdCalibration(**of_voxels, residual_sd=ResidualDeviation.fit(pairs))

    def patches(self, scans: list[Scan]) -> Patches:
        """Return patches without added spots, of which neither the MR nor a flat image shows anything."""
        self.augment = self.augment.model_copy(update={"lesions": 0.0})
        return super().patches(scans)

    def apply(self, low: Volume, mr: Volume | None, drf: float | None) -> Volume:
        return super().apply(flat(low), mr, drf)


METHOD = MrOnly

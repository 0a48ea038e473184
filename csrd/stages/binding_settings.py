"""The settings with which BP_ND of a dynamic virtual cohort can be measured."""

from collections.abc import Sequence

import numpy as np

from csrd.config import TRUTH, Config
from csrd.config.sections import Kinetics
from csrd.errors import InputError
from csrd.stages.binding_truth import region_named

FEWEST_FRAMES = 4
"""Frames that a model needs, as in `csrd kinetics`."""


def check(config: Config) -> None:
    """Raise InputError where BP_ND of a dynamic virtual cohort cannot be measured with these settings."""
    if not config.cohort.virtual:
        raise InputError(
            "dynamic simulates its subjects, but cohort.sheet or cohort.bids names your own; "
            "leave both null, as in config/dynamic.yaml"
        )
    if config.acquisition.frames is None:
        raise InputError(
            "dynamic needs a scan in time frames, but acquisition.frames is null; add "
            "acquisition: {frames: [60, 120, 300, …]}, in s from the injection on, as in config/dynamic.yaml"
        )
    if config.recon.frames is None:
        raise InputError("dynamic needs images in time frames; set recon.engine to embedded")
    if config.cohort.models is not None or not config.cohort.validation:
        raise InputError(
            "dynamic chooses its filters on validation subjects, but there are none; "
            "set cohort.validation to 1 or more, and cohort.models to null"
        )
    _check_kinetics(config.kinetics, config.recon.frames)


def _check_kinetics(kinetics: Kinetics, frames: Sequence[float]) -> None:
    """Raise InputError where the section does not fit virtual subjects with `frames` (durations in s)."""
    if kinetics.labels not in (None, TRUTH):
        raise InputError(
            f"kinetics.labels is {kinetics.labels}, but dynamic has the true regions; write truth or null"
        )
    if kinetics.reference is not None:
        region_named(kinetics.reference)
    if wrong := [number for number in kinetics.exclude_frames if number > len(frames)]:
        raise InputError(f"kinetics.exclude_frames has {wrong[0]}, but there are {len(frames)} frames")
    starts = np.append(0, np.cumsum(frames))[:-1]
    kept = ~np.isin(np.arange(1, len(starts) + 1), kinetics.exclude_frames)
    if (count := int((kept & (starts >= (kinetics.t_star or 0))).sum())) < FEWEST_FRAMES:
        raise InputError(
            f"{count} frames are left for the models, which need {FEWEST_FRAMES}; give more frames, "
            "an earlier kinetics.t_star or fewer kinetics.exclude_frames"
        )

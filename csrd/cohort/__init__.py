"""Who takes part: the subjects of the user's sheet, or the numbered ones of the virtual cohort."""

from collections.abc import Iterable
from pathlib import Path

from csrd.cohort.sheet import read_sheet
from csrd.cohort.subject import SPLITS, Subject, virtual_subjects
from csrd.config import Config

__all__ = ["SPLITS", "Subject", "in_suv", "read_sheet", "subjects", "virtual_subjects"]


def in_suv(cohort: Iterable[Subject]) -> bool:
    """Return whether images can be compared in SUV: only if weight and activity of all are known."""
    return all(subject.weight_kg and subject.injected_MBq for subject in cohort)


def subjects(config: Config) -> tuple[Subject, ...]:
    """Return the cohort's subjects, in the order of the sheet or of their numbers.

    Raises InputError where the sheet, a file it names, or a file of the virtual cohort does not fit.
    """
    if config.cohort.sheet is None:
        return virtual_subjects(config)
    return read_sheet(Path(config.cohort.sheet), embedded=config.recon.engine == "embedded")

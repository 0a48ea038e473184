"""Who takes part: the subjects of the user's sheet, or the numbered ones of the virtual cohort."""

from pathlib import Path

from csrd.cohort.sheet import read_sheet
from csrd.cohort.subject import SPLITS, Subject, virtual_subjects
from csrd.config import Config

__all__ = ["SPLITS", "Subject", "read_sheet", "subjects", "virtual_subjects"]


def subjects(config: Config) -> tuple[Subject, ...]:
    """Return the cohort's subjects, in the order of the sheet or of their numbers.

    Raises InputError where the sheet, a file it names, or a file of the virtual cohort does not fit.
    """
    cohort = config.cohort
    if cohort.sheet is None:
        return virtual_subjects(cohort)
    return read_sheet(Path(cohort.sheet), needs_mumap=config.recon.engine == "embedded")

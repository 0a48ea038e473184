"""The cohort: the user's own subjects, from a sheet or a BIDS dataset, or virtual subjects."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from csrd.cohort.bids import read_bids
from csrd.cohort.scans import read_scans
from csrd.cohort.sheet import read_sheet
from csrd.cohort.subject import SPLITS, Subject, virtual_subjects
from csrd.config import Config

if TYPE_CHECKING:  # its reading of headers needs nibabel, which takes a while
    from csrd.cohort.regions import Labels

__all__ = [
    "SPLITS",
    "Subject",
    "in_suv",
    "labels_of_scans",
    "read_bids",
    "read_scans",
    "read_sheet",
    "subjects",
    "virtual_subjects",
]


def in_suv(cohort: Iterable[Subject]) -> bool:
    """Return whether images can be compared in SUV: they are, or all weights and activities are known."""
    return all(
        subject.unit == "SUV" or (subject.weight_kg and subject.injected_MBq)
        for subject in cohort
        if subject.is_compared
    )


def subjects(config: Config) -> tuple[Subject, ...]:
    """Return the cohort's subjects, in the order of the sheet, of the dataset or of their numbers.

    Raises InputError where sheet or dataset, a file it names, or a file of the virtual cohort does not fit.
    """
    if config.cohort.virtual:
        return virtual_subjects(config)
    if config.cohort.bids is not None and config.cohort.as_is:
        return read_scans(Path(config.cohort.bids), config.cohort)
    if config.cohort.bids is not None:
        return read_bids(Path(config.cohort.bids), config)
    assert config.cohort.sheet is not None, "a cohort is virtual, a dataset or a sheet"
    return read_sheet(Path(config.cohort.sheet), config)


def labels_of_scans(config: Config, cohort: Mapping[str, Subject]) -> "dict[str, Labels]":
    """Return the labels of the dynamic scans that are denoised as they are, by their names.

    There are none without `kinetics.labels`. Raises InputError where a scan lacks its labels or T1w image.
    """
    if config.kinetics.labels is None or not config.cohort.as_is:
        return {}
    from csrd.cohort.regions import labels_of_scans

    return labels_of_scans({name: scan for name, scan in cohort.items() if scan.is_plain}, config.kinetics)

"""One participant, and the list of the virtual ones."""

import re
from dataclasses import dataclass
from pathlib import Path

from csrd.config import Cohort
from csrd.errors import InputError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Subject:
    """A participant of the study; the paths are the user's own files, None where there are none.

    `id` is sub-<letters and digits>, `tracer` letters and digits: both go into file names.
    A virtual subject has no list-mode file yet, and a T1w image only if one is to be its anatomy.
    """

    id: str
    split: str
    tracer: str
    listmode: Path | None = None
    header: Path | None = None
    t1w: Path | None = None
    mumap: Path | None = None
    normalisation: Path | None = None
    weight_kg: float | None = None
    injected_MBq: float | None = None

    @property
    def suffix(self) -> str:
        """Return how the subject's list-mode file names end."""
        return "l64" if self.listmode is None else self.listmode.suffix.lstrip(".")


def virtual_subjects(cohort: Cohort) -> tuple[Subject, ...]:
    """Return sub-01, sub-02, ...: first those to train on, then the validation's, then the test's.

    Raises InputError where the tracer's table or enough T1w images are missing.
    """
    splits = [split for split in SPLITS for _ in range(getattr(cohort, split))]
    images = _t1w_images(cohort.t1w, len(splits)) if cohort.t1w else [None] * len(splits)
    tracer = _tracer(Path(cohort.tracer))
    return tuple(
        Subject(id=f"sub-{number:02d}", split=split, tracer=tracer, t1w=image)
        for number, (split, image) in enumerate(zip(splits, images, strict=True), start=1)
    )


def _tracer(table: Path) -> str:
    """Return the name of the tracer whose uptake `table` holds."""
    if not table.is_file():
        raise InputError(
            f"cohort.tracer is {table}, which does not exist; give a table such as config/tracers/DASB.tsv"
        )
    if not re.fullmatch(r"[A-Za-z0-9]+", table.stem):
        raise InputError(f"cohort.tracer is {table}; name the file by letters and digits only, as DASB.tsv")
    return table.stem


def _t1w_images(folder: str, wanted: int) -> list[Path]:
    """Return the first `wanted` NIfTI images in `folder`, by name."""
    found = sorted(path for path in Path(folder).glob("*") if path.name.endswith((".nii", ".nii.gz")))
    if len(found) < wanted:
        raise InputError(
            f"cohort.t1w is {folder}, which holds {len(found)} NIfTI images for {wanted} subjects; "
            "add images or ask for fewer subjects"
        )
    return found[:wanted]

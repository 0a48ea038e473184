"""One participant, and the list of the virtual ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from csrd.config import Config
from csrd.config.sections import Cohort
from csrd.errors import InputError
from csrd.io.bids import NOTES_KEY, RAW_URI
from csrd.seeds import generator
from csrd.units import suv_per_bq_ml

SPLITS = ("train", "validation", "test")
WEIGHT_KG, WEIGHT_SD, WEIGHT_LIMITS = 65.0, 10.0, (45.0, 95.0)
INJECTED_SD = 41.0 / 577.6  # relative standard deviation between the paper's subjects


@dataclass(frozen=True)
class Subject:
    """A participant of the study; the paths are the user's own files, None where there are none.

    `id` is sub-<letters and digits>, with the scan's other entities where a participant has several scans;
    `tracer` is letters and digits: both go into file names.
    A virtual subject has no list-mode file yet, and a T1w image only if its anatomy is made from one.
    `pet` is the user's image of the normal dose, `lows` are those of low doses by dose reduction factor, and
    `unit` is their unit where it is known. A subject with only a low dose belongs to no split ("").
    One with a `pet` alone and no split is denoised as it is: `is_plain`. `notes` are for its sidecar.
    `vendor` is the vendor's image of a list-mode scan, to compare with.
    """

    id: str
    split: str
    tracer: str | None
    listmode: Path | None = None
    header: Path | None = None
    t1w: Path | None = None
    mumap: Path | None = None
    normalisation: Path | None = None
    weight_kg: float | None = None
    injected_MBq: float | None = None
    pet: Path | None = None
    vendor: Path | None = None
    lows: Mapping[int, Path] = field(default_factory=dict)
    unit: str | None = "Bq/mL"
    session: str | None = None
    run: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Return whether there is one image only, which is denoised as it is."""
        return self.pet is not None and not self.lows and not self.split

    @property
    def is_compared(self) -> bool:
        """Return whether there is, or will be, a normal dose to compare low ones with."""
        return not self.is_plain and (not self.lows or self.pet is not None)

    @property
    def participant(self) -> str:
        """Return ``sub-<label>`` alone."""
        return self.id.partition("_")[0]

    @property
    def folder(self) -> str:
        """Return the folder of its images in a dataset: ``sub-01`` or ``sub-01/ses-2``."""
        return f"{self.participant}/ses-{self.session}" if self.session else self.participant

    @property
    def suffix(self) -> str:
        """Return the suffix of the subject's list-mode file, as it is imported."""
        suffix = "l64" if self.listmode is None else self.listmode.suffix.lstrip(".")
        return "l" if suffix in ("dcm", "bf") else suffix

    @property
    def normalisation_suffix(self) -> str:
        """Return the suffix of the subject's normalisation, as it is imported: the mMR's own has another."""
        own = self.normalisation is not None and self.normalisation.suffix in (".dcm", ".bf", ".n")
        return "n" if own else "npy"

    def known(self, raw: str | None, wants_mr: bool = True) -> dict[str, object]:
        """Return entries of the sidecar of a scan that is denoised as it is.

        `raw` is its dataset; `wants_mr` is whether the method uses an MR.
        """
        found: dict[str, object] = {NOTES_KEY: list(self.notes)} if self.notes else {}
        if raw is not None:
            sources = [path for path in (self.pet, self.t1w if wants_mr else None) if path]
            found["Sources"] = [f"{RAW_URI}{path.relative_to(raw).as_posix()}" for path in sources]
        if self.unit == "Bq/mL" and self.weight_kg and self.injected_MBq:
            found["SUVPerBqPerML"] = suv_per_bq_ml(self.weight_kg, self.injected_MBq)
        return found

    @property
    def facts(self) -> dict[str, str | float | None]:
        """Return tracer, weight and activity of the subject.

        The split is left out: moving a subject to another split must not repeat its simulation.
        """
        return {key: getattr(self, key) for key in ("tracer", "weight_kg", "injected_MBq")}


def virtual_subjects(config: Config) -> tuple[Subject, ...]:
    """Return sub-01, sub-02, …: first the training, then the validation, then the test subjects.

    Body weight and injected activity vary from one to the next. With `cohort.models` nothing is fitted, and
    only the test subjects are simulated, under the same names as with the others.
    Raises InputError where the tracer's table or enough T1w images are missing, or a subject to train on.
    """
    cohort = config.cohort
    if config.fitted_methods and cohort.models is None and not cohort.train:
        raise InputError(
            f"cohort.train is 0, but {', '.join(config.fitted_methods)} are to be fitted; "
            "set it to 1 or more, or name fitted methods by cohort.models"
        )
    splits = [split for split in SPLITS for _ in range(getattr(cohort, split))]
    wanted = [
        (f"sub-{number:02d}", split)
        for number, split in enumerate(splits, start=1)
        if split == "test" or cohort.models is None
    ]
    tracer, images = _tracer(Path(cohort.tracer)), _t1w_images(cohort, len(wanted))
    return tuple(
        _virtual(config, name, split, tracer, image)
        for (name, split), image in zip(wanted, images, strict=True)
    )


def _virtual(config: Config, name: str, split: str, tracer: str, t1w: Path | None) -> Subject:
    draw = generator(config.seed, "person", name)
    weight = np.clip(draw.normal(WEIGHT_KG, WEIGHT_SD), *WEIGHT_LIMITS)
    injected = config.acquisition.injected_MBq * np.clip(draw.normal(1, INJECTED_SD), 0.8, 1.2)
    return Subject(
        id=name,
        split=split,
        tracer=tracer,
        t1w=t1w,
        weight_kg=round(float(weight), 1),
        injected_MBq=round(float(injected), 1),
    )


def _tracer(table: Path) -> str:
    """Return the name of the tracer whose uptake `table` holds."""
    if not table.is_file():
        raise InputError(f"cohort.tracer is {table}, which does not exist; name a table of uptake by region")
    if not re.fullmatch(r"[A-Za-z0-9]+", table.stem):
        raise InputError(f"cohort.tracer is {table}; name the file by letters and digits only, as DASB.tsv")
    return table.stem


def _t1w_images(cohort: Cohort, wanted: int) -> list[Path] | list[None]:
    """Return the first `wanted` NIfTI images of the cohort's folder, by name, or as many None."""
    if cohort.t1w is None:
        return [None] * wanted
    found = sorted(path for path in Path(cohort.t1w).glob("*") if path.name.endswith((".nii", ".nii.gz")))
    if len(found) < wanted:
        raise InputError(
            f"cohort.t1w is {cohort.t1w}, which holds {len(found)} NIfTI images for {wanted} subjects; "
            "add images, or lower cohort.train, validation or test"
        )
    return found[:wanted]

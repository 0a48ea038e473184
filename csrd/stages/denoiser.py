"""A loaded model that denoises scans, and what their sidecars say of it."""

import logging
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

import csrd
from csrd.align.head import box_around, head_mask
from csrd.align.register import check_cover, refuse_unregistrable, register
from csrd.errors import InputError, naming, notice
from csrd.extras import require
from csrd.io.bids import bids_uri, dose_of
from csrd.io.files import read_json, sha256
from csrd.io.frames import (
    STATIC_FRAMES_KEY,
    STATIC_WEIGHTS_KEY,
    Frames,
)
from csrd.io.images import Image
from csrd.io.volume import NOTES_KEY, Volume
from csrd.methods import method
from csrd.methods.base import MODEL_FILE, Method
from csrd.methods.base.denoise import Shown, box_for
from csrd.methods.base.surroundings import Box, box_facts, in_box
from csrd.pretrained import KEYS as PACKAGED_KEYS
from csrd.pretrained import packaged
from csrd.resample import resample
from csrd.stages.dynamic import Course, Outcome, Prepared, prepared
from csrd.stages.fit import model_folder

REGISTRATION_SEED = 2024
PACKAGES = ("torch", "numpy")
KEPT = ("Units", STATIC_FRAMES_KEY, STATIC_WEIGHTS_KEY)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Denoised:
    """A denoised scan: `image` on the grid and in the unit of the input, the predicted standard deviation
    `std` of the normal dose around it where it was requested, and the `facts` of its sidecar."""

    image: Volume
    std: Volume | None
    facts: dict


@dataclass(frozen=True)
class Denoiser:
    """A loaded method and its folder, the MR of its scans, and whether to predict the standard deviation."""

    method: Method
    folder: Path
    mr: Image | None
    std: bool

    @classmethod
    def load(
        cls, model: str | Path | None, mr: Image | None, std: bool, device: str, choices: dict
    ) -> "Denoiser":
        """Return the method in the folder `model`, or a packaged model by name or by default.

        `choices` are for `Method.use`.
        """
        choices = {name: choice for name, choice in choices.items() if choice is not None}
        if choices.get("product") == "sample" and "samples" in choices and not std:
            raise InputError("samples is given, but the product is one sample; ask for std, or for average")
        if model is None:
            model = "csrd" if mr is not None else "csrdnomr"
        folder = packaged(str(model)) if model in PACKAGED_KEYS else model_folder(model)
        kind = method(str(read_json(folder / MODEL_FILE).get("method")))
        if kind.extra:
            require(kind.extra, f"denoising by {kind.label}")
        loaded = kind.load(folder)
        loaded.move(device)
        loaded.use(**choices)
        of_samples = [name for name in ("samples", "steps") if name in choices]
        if of_samples and not std and not loaded.draws_samples:
            raise InputError(
                f"{of_samples[0]} is given, but no sample is drawn; ask for std, or for the product average"
            )
        return cls(loaded, folder, mr, std)

    def of(self, mr: Image | None, std: bool) -> "Denoiser":
        """Return the same loaded method for scans with this MR."""
        return replace(self, mr=mr, std=std)

    def denoise(self, pet: Image, drf: float | None) -> Denoised:
        """Return the denoised image of one scan.

        Raises InputError for an image that was denoised before.
        """
        drf, notes = self.dose(pet.name, pet.path, pet.sidecar, drf)
        estimated = drf is None
        with naming(pet.name):
            head = head_mask(pet.volume)
        box = box_for(self.method, pet.volume, head)
        anatomy, registration = self.mr_on(pet.volume, head, box, pet.name)
        with naming(pet.name):
            shown = Shown.to(self.method, pet.volume, anatomy, box)
            notes += [notice(f"{pet.name}: {doubt}") for doubt in shown.doubts()]
            drf, image, std = shown.denoised(drf, with_std=self.std)
            after = self.method.doubts_after(pet.volume, image, head)
            notes += [notice(f"{pet.name}: {doubt}") for doubt in after]
        notes = [*pet.volume.notes, *self.mr_notes, *notes]
        facts = dose_facts(drf, estimated) | self.facts(pet.path) | registration
        facts |= box_facts(pet.volume, box) | _kept(pet.sidecar)
        return Denoised(image, std, facts | ({NOTES_KEY: notes} if notes else {}))

    def denoise_frames(self, frames: Frames, drf: float | None) -> Iterator[Denoised]:
        """Return an iterator over the denoised frames of a dynamic scan; see `csrd.denoise_frames`."""
        scan = prepared(self, frames, drf)
        found = enumerate(scan.outcomes(frames), start=1)
        return (self._of_frame(scan, number, outcome) for number, (_, outcome) in found)

    def _of_frame(self, scan: Prepared, number: int, outcome: Outcome) -> Denoised:
        """Return a frame with its facts: without those of the model where it was passed through."""
        alone = Course()
        alone.add(number, outcome)
        notes = [*scan.notes, *map(notice, alone.notes(scan.frames.name, scan.frames.count))]
        facts = {} if outcome.passed else dose_facts(outcome.drf, scan.drf is None) | scan.facts
        facts |= _kept(scan.frames.sidecar)
        facts |= {NOTES_KEY: notes} if notes else {}
        return Denoised(outcome.image, outcome.std if self.std else None, facts)

    def dose(
        self, name: str, path: Path | None, sidecar: dict, drf: float | None
    ) -> tuple[float | None, list[str]]:
        """Return a scan's dose reduction factor, None where it has to be estimated, and notes on it.

        Raises InputError for an image that was denoised before, or a factor that is none.
        """
        if before := sidecar.get("Denoising"):
            raise InputError(f"{name} was denoised before, by {before}; give the scan as reconstructed")
        drf, notes = _dose_of(name, path, sidecar, drf)
        if drf is not None:
            _check_dose(drf, self.method)
        return drf, notes

    @property
    def mr_notes(self) -> tuple[str, ...]:
        """Return the notes on the MR's file."""
        return () if self.mr is None else self.mr.volume.notes

    def mr_on(self, pet: Volume, head: np.ndarray, box: Box, name: str) -> tuple[Volume | None, dict]:
        """Return the MR in a box of the PET's grid, for a method that uses it, and a registration's facts."""
        if self.mr is None or not self.method.wants_mr:
            return None, {}
        return mr_on(pet, head, box, self.mr, name)

    def facts(self, pet: Path | None) -> dict:
        """Return the provenance for a sidecar: sources, model, settings, versions."""
        mr = None if self.mr is None else self.mr.path
        sources = [path for path in (pet, mr) if path is not None]
        return {
            "Denoising": self.method.label,
            "Sources": [bids_uri(source) for source in sources],
            "ModelSha256": sha256(self.folder / MODEL_FILE),
            "Versions": {
                "Python": platform.python_version(),
                "csrd": csrd.__version__,
                **{name: version(name) for name in PACKAGES},
            },
            **self.method.facts(),
        }


def _kept(sidecar: dict) -> dict:
    """Return the facts of a scan's own sidecar that are about the image that was denoised."""
    return {key: sidecar[key] for key in KEPT if key in sidecar}


def dose_facts(drf: float | None, estimated: bool) -> dict:
    """Return the sidecar's facts about the dose; {} where it was neither known nor needed."""
    if drf is None:
        return {}
    known = {"DoseReductionFactor": int(drf) if float(drf).is_integer() else drf}
    return known | ({"DoseReductionFactorEstimated": True} if estimated else {})


def _dose_of(
    name: str, path: Path | None, sidecar: dict, drf: float | None
) -> tuple[float | None, list[str]]:
    """Return the dose reduction factor that is requested, else the sidecar's or the name's, and a note.

    Raises InputError where sidecar and name differ.
    """
    stated = sidecar.get("DoseReductionFactor")
    named = dose_of(path) if path else None
    if drf is None and None not in (stated, named) and stated != named:
        raise InputError(
            f"{name} has the dose reduction factor {stated} in its sidecar, but {named} in its name; "
            "correct one, or give --drf"
        )
    known = named if stated is None else stated
    if drf is None or known in (None, drf):
        return (known if drf is None else drf), []
    where = "name" if stated is None else "sidecar"
    return drf, [notice(f"{name} has a dose reduction factor of {known} by its {where}: {drf:g} is used")]


def mr_on(pet: Volume, head: np.ndarray, box: Box, image: Image, name: str) -> tuple[Volume, dict]:
    """Return an MR in a box of the PET's grid, registered where it lies on another, and the facts of that.

    It is registered to the surroundings of the `head` in the PET, a mask: a scanner's field of view can be
    ten times as large.
    Raises InputError where one of them cannot be registered; `name` is the PET's.
    """
    mr = image.volume
    if mr.same_grid(pet):
        return in_box(mr, box), {}
    require("register", "registering an MR that lies on another grid")
    logger.info("%s: registering it to the PET", image.name)
    with naming(name):
        refuse_unregistrable(pet)
    near = pet.part(box_around(head, pet.voxel_mm))
    with naming(image.name):
        matrix = register(mr, near, REGISTRATION_SEED, threads=1)
        covered = check_cover(mr, near, matrix)
    registration = {"RegistrationMatrix": matrix.tolist(), "HeadCoverage": round(covered, 3)}
    return resample(mr, in_box(pet, box), matrix, order=3), registration


def _check_dose(drf: object, denoiser: Method) -> None:
    """Warn of a dose lower than those that the method was fitted on.

    Raises InputError where the dose reduction factor is not a number of 1 or more.
    """
    if isinstance(drf, bool) or not isinstance(drf, int | float) or not (math.isfinite(drf) and drf >= 1):
        raise InputError(
            f"the dose reduction factor is {drf!r}; give a number of 1 or more by --drf, 4 for a quarter of "
            "the dose, or correct DoseReductionFactor in the sidecar"
        )
    if drf > denoiser.largest_drf:
        notice(
            f"the dose reduction factor is {drf:g}; {denoiser.key} was not trained on doses beyond "
            f"{denoiser.largest_drf:g}, so do not trust the image"
        )

"""Denoising of scans on any grid, for the command, the workflow and `csrd.denoise`."""

import logging
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import csrd
from csrd.align.head import around_head, head_mask
from csrd.align.register import check_cover, refuse_unregistrable, register
from csrd.errors import InputError, naming, notice
from csrd.extras import require
from csrd.io.bids import bids_uri, dose_of, pet_sidecar, save_with_sidecar, with_known
from csrd.io.dicom import check_writable, write_series
from csrd.io.files import read_json, refuse_locked, sha256, write_text
from csrd.io.frames import (
    STATIC_FRAMES_KEY,
    STATIC_WEIGHTS_KEY,
    Frames,
    frames_of,
    read_frames,
    static_image,
)
from csrd.io.images import Image, read_mr, read_pet, refuse_pet
from csrd.io.nifti import refuse_dicom_file, refuse_not_finite
from csrd.io.volume import NOTES_KEY, Volume
from csrd.methods import method
from csrd.methods.base import MODEL_FILE, Method
from csrd.methods.base.denoise import applied
from csrd.methods.learned.doubts import changed_mean
from csrd.pretrained import KEYS as PACKAGED_KEYS
from csrd.pretrained import packaged
from csrd.progress import progress
from csrd.resample import resample
from csrd.stages.dynamic import Course, Outcome, Prepared, check_frames_writable, denoise_frames, prepared
from csrd.stages.fit import model_folder
from csrd.units import agreed_unit, pet_unit

REGISTRATION_SEED = 2024
SUFFIXES = (".nii.gz", ".nii")
PACKAGES = ("torch", "numpy")
KEPT = ("Units", STATIC_FRAMES_KEY, STATIC_WEIGHTS_KEY)

Source = Volume | str | Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Denoised:
    """A denoised scan: `image` on the grid and in the unit of the input, the predicted standard deviation
    `std` of the normal dose around it where it was requested, and the `facts` of its sidecar."""

    image: Volume
    std: Volume | None
    facts: dict


def predict(
    lows: Sequence[str | Path],
    images: Sequence[str | Path],
    *,
    mr: str | Path | None = None,
    stds: Sequence[str | Path] | None = None,
    model: str | Path | None = None,
    drf: float | None = None,
    device: str = "auto",
    units: str | None = None,
    allow_incomplete: bool = False,
    reports: Sequence[str | Path] | None = None,
    labels: str | Path | None = None,
    static: tuple[float, float] | None = None,
    known: Mapping[str, Any] | None = None,
    **choices: object,
) -> None:
    """Denoise low-dose images; write the images, their predicted standard deviations `stds`, and sidecars.

    The result for a DICOM series is a series in a new folder. A dynamic scan is denoised frame by frame; with
    `static` the mean of its frames between two times, in s after TimeZero, is denoised as one image, and
    written as NIfTI. `known` are further entries of the sidecars. `reports` are the pages of the scans,
    ``.html``, with the regions in `labels` (`csrd.stages.page`). The other parameters are those of
    `csrd.denoise`; `model` may be its ``model.json``, and is loaded once.
    Raises InputError before any computation where a file cannot be written. No image is left incomplete after
    any other error.
    """
    _check_targets(lows, images, mr, stds, static is not None)
    if reports:
        from csrd.stages.page import check_page, scan_page_of
        from csrd.stages.page import page as page_of_files

        for report in reports:
            check_page(report)
    denoiser = Denoiser.load(model, opened_mr(mr), stds is not None, device, choices)
    of_frames = denoiser  # the page of a dynamic scan has no deviation
    if reports and denoiser.method.predicts_std:
        denoiser = replace(denoiser, std=True)
    deviations: Sequence[str | Path | None] = stds or [None] * len(lows)
    pages: Sequence[str | Path | None] = reports or [None] * len(lows)
    jobs = list(zip(lows, images, deviations, pages, strict=True))
    for low, image, std, page in progress(jobs, f"{denoiser.method.key}: denoising"):
        frames = read_frames(low, units, allow_incomplete)
        if frames is not None and static is None:
            if page is not None and frames.files is not None:
                raise InputError(
                    f"{low} is a dynamic series, of which no page is written; give --static, or no --report"
                )
            check_frames_writable(frames, image)
            denoise_frames(of_frames, frames, drf, image, std, known)
            if page is not None:
                known_mr = mr if denoiser.method.wants_mr else None
                page_of_files(low, image, page, mr=known_mr, labels=labels, units=units)
            continue
        pet = _single(low, frames, static, units, allow_incomplete)
        if pet.series:
            check_writable(image, pet.series)
        found = denoiser.denoise(pet, drf)
        _write(found, pet, image, std, known)
        if page is not None:
            anatomy = denoiser.mr if denoiser.method.wants_mr else None
            write_text(
                page, scan_page_of(pet, found.image, anatomy, found.facts, std=found.std, labels=labels)
            )


def _single(
    low: str | Path,
    frames: Frames | None,
    static: tuple[float, float] | None,
    units: str | None,
    allow_incomplete: bool,
) -> Image:
    """Return a scan as one 3D image: as it is, or the mean of the frames between two times."""
    if static is None:
        return read_pet(low, units, allow_incomplete)
    if frames is None:
        raise InputError(f"{low} has one frame only; leave static out")
    return static_image(frames, *static)


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
        anatomy, registration = self.mr_on(pet.volume, pet.name)
        with naming(pet.name):
            doubts = self.method.doubts(pet.volume, anatomy)
            notes += [notice(f"{pet.name}: {doubt}") for doubt in doubts]
            drf, image, std = self.applied(pet.volume, anatomy, drf)
            if self.method.measures_noise and (
                doubt := changed_mean(pet.volume, image, head_mask(pet.volume))
            ):
                notes.append(notice(f"{pet.name}: {doubt}"))
        notes = [*pet.volume.notes, *self.mr_notes, *notes]
        facts = dose_facts(drf, estimated) | self.facts(pet.path) | registration | _kept(pet.sidecar)
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

    def applied(
        self, pet: Volume, anatomy: Volume | None, drf: float | None
    ) -> tuple[float | None, Volume, Volume | None]:
        """Return the dose, the denoised image and the standard deviation of a volume; see `base.denoise`."""
        return applied(self.method, pet, anatomy, drf, with_std=self.std)

    @property
    def mr_notes(self) -> tuple[str, ...]:
        """Return the notes on the MR's file."""
        return () if self.mr is None else self.mr.volume.notes

    def mr_on(self, pet: Volume, name: str) -> tuple[Volume | None, dict]:
        """Return the MR on the PET's grid, for a method that uses it, and the facts of a registration."""
        if self.mr is None or not self.method.wants_mr:
            return None, {}
        return mr_on(pet, self.mr, name)

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


def opened_pet(
    low: Source,
    units: str | None,
    allow_incomplete: bool,
    static: tuple[float, float] | None = None,
) -> Image:
    """Return a PET scan with its unit and sidecar, from a volume, a NIfTI file or a folder of DICOM.

    Of a dynamic scan it is the mean of the frames between two times, `static`.
    Raises InputError where it cannot be used, its unit is not known, or it is dynamic without `static`.
    """
    if not isinstance(low, Volume):
        frames = read_frames(low, units, allow_incomplete)
        if frames is not None and static is None:
            raise InputError(
                f"{low} has {frames.count} frames; use csrd.denoise_frames, or give a window, static"
            )
        return _single(low, frames, static, units, allow_incomplete)
    if static is not None:
        raise InputError("static is given, but the low-dose image has one frame only; leave it out")
    refuse_pet(low, "the low-dose image")
    refuse_not_finite("the low-dose image", low.array)
    with naming("the low-dose image"):
        if units is not None:
            pet_unit(units)
        unit = agreed_unit({"volume": low.unit, "-units": units})
        if unit:
            pet_unit(unit)
    return Image(low if unit in (None, low.unit) else low.like(low.array, unit), "the low-dose image")


def opened_frames(
    low: Sequence[Volume] | str | Path,
    durations: Sequence[float] | None,
    units: str | None,
    allow_incomplete: bool,
) -> Frames:
    """Return a dynamic scan from its frames in memory, a NIfTI file or a folder of DICOM.

    Raises InputError where it cannot be used, or has one frame only in a file.
    """
    if not isinstance(low, str | Path):
        return frames_of([opened_pet(frame, units, False).volume for frame in low], "the scan", durations)
    if durations is not None:
        raise InputError(f"durations are given, but {low} is a file; write FrameDuration into its sidecar")
    frames = read_frames(low, units, allow_incomplete)
    if frames is None:
        raise InputError(f"{low} has one frame only; use csrd.denoise")
    return frames


def opened_mr(mr: Source | None) -> Image | None:
    """Return an MR from a volume, a NIfTI file or a folder of DICOM."""
    if mr is None or not isinstance(mr, Volume):
        return None if mr is None else read_mr(mr)
    refuse_not_finite("the MR", mr.array)
    return Image(mr, "the MR")


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


def _write(
    found: Denoised,
    pet: Image,
    image: str | Path,
    std: str | Path | None,
    known: Mapping[str, Any] | None,
) -> None:
    """Write a denoised image, its standard deviation where there is one, and the sidecars."""
    label, unit = found.facts["Denoising"], found.image.unit
    assert pet.path is not None, "what is written was read from a file"
    sidecar = with_known(pet_sidecar(pet.path, unit, **pet.sidecar | found.facts), known, pet.path)
    if pet.series:
        write_series(found.image, image, pet.series, f"denoised by {label}")
    else:
        drf = found.facts.get("DoseReductionFactor")
        text = f"{'PET' if drf is None else f'PET at 1/{drf:.3g} of the dose'}, denoised by {label}"
        save_with_sidecar(found.image, image, sidecar | {"Description": text})
    if std is not None and found.std is not None:
        of = found.facts.get("StandardDeviationOf", "normal dose")
        text = f"Standard deviation of the {of} around {Path(image).name}, by {label}"
        save_with_sidecar(found.std, std, sidecar | {"Description": text})


def mr_on(pet: Volume, image: Image, name: str) -> tuple[Volume, dict]:
    """Return an MR on the PET's grid, registered where it lies on another, and the facts of that.

    Raises InputError where one of them cannot be registered; `name` is the PET's.
    """
    mr = image.volume
    if mr.same_grid(pet):
        return mr, {}
    require("register", "registering an MR that lies on another grid")
    logger.info("%s: registering it to the PET", image.name)
    with naming(name):
        refuse_unregistrable(pet)
        near = around_head(pet)  # a scanner's field of view can be ten times as large
    with naming(image.name):
        matrix = register(mr, near, REGISTRATION_SEED, threads=1)
        covered = check_cover(mr, near, matrix)
    registration = {"RegistrationMatrix": matrix.tolist(), "HeadCoverage": round(covered, 3)}
    return resample(mr, pet, matrix, order=3), registration


def _check_targets(
    lows: Sequence[str | Path],
    images: Sequence[str | Path],
    mr: str | Path | None,
    stds: Sequence[str | Path] | None,
    static: bool,
) -> None:
    """Raise InputError where an output cannot be written, is an input, or is named twice."""
    for low, image in zip(lows, images, strict=True):
        _check_kind(Path(low), Path(image), static)
    files = [image for low, image in zip(lows, images, strict=True) if static or not Path(low).is_dir()]
    targets, sources = [*files, *(stds or [])], [*lows, *([mr] if mr else [])]
    read, seen = {Path(source).resolve() for source in sources}, set()
    for target in targets:
        if not str(target).endswith(SUFFIXES):
            raise InputError(f"the output is {target}; name it with {' or '.join(SUFFIXES)}")
        if (place := Path(target).resolve()) in read:
            raise InputError(f"{target} is an input too; choose another output file")
        if place in seen:
            raise InputError(
                f"{target} is named for the image and for the standard deviation; choose two files"
            )
        seen.add(place)
        refuse_locked(target)
    if mr and Path(mr).resolve() in {Path(low).resolve() for low in lows}:
        raise InputError(f"{mr} is given as the PET and as the MR; give the subject's T1w image as the MR")


def _check_kind(low: Path, image: Path, static: bool) -> None:
    """Raise InputError where a scan does not exist, is one DICOM slice, or needs a folder as output."""
    if not low.exists():
        raise InputError(f"{low} does not exist; check the path")
    refuse_dicom_file(low)
    if low.is_dir() and not static and image.name.endswith(SUFFIXES):
        raise InputError(f"{image} is a file, but the result for {low} is a series; give a new folder")


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

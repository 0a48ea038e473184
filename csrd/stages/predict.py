"""Denoising of scans on whatever grid they are, with `csrd.denoise` for one scan in Python."""

import math
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import csrd
from csrd.align.register import register
from csrd.errors import InputError, naming
from csrd.io.bids import bids_uri, dose_of, inherited, pet_sidecar, save_with_sidecar
from csrd.io.files import read_json, refuse_locked, sha256
from csrd.io.volume import Volume
from csrd.methods import method
from csrd.methods.base import MODEL_FILE, Method
from csrd.methods.denoise import applied
from csrd.pretrained import packaged
from csrd.progress import progress
from csrd.resample import resample
from csrd.stages.fit import model_folder

REGISTRATION_SEED = 2024
SUFFIXES = (".nii.gz", ".nii")
PACKAGES = ("torch", "numpy")
NOT_PET = ("arbitrary", "label", "mask", "1/cm")  # units of the MR, of labels, masks and μ-maps

Image = Volume | str | Path


@dataclass(frozen=True)
class Denoised:
    """A denoised scan: `image` on the grid and in the unit of the input, the predicted standard deviation
    `std` of the normal dose around it where it was requested, and the `facts` of its sidecar."""

    image: Volume
    std: Volume | None
    facts: dict


def denoise(
    low: Image,
    mr: Image | None = None,
    *,
    model: str | Path | None = None,
    drf: float | None = None,
    product: str | None = None,
    samples: int | None = None,
    steps: int | None = None,
    std: bool = False,
    device: str = "auto",
) -> Denoised:
    """Return a low-dose PET denoised; both images are volumes or NIfTI files, each on any grid.

    `low` is scaled to the normal dose. An MR on another grid is registered and resampled. `model` is the
    folder of a fitted method, else the package's CSR-D, with or without MR. `drf` is the dose reduction
    factor, else that of the file's sidecar or name, else estimated from the noise. `product`, `samples` and
    `steps` of the sampler are CSR-D's choices; `device` is auto, cpu or cuda.
    Raises InputError where an image, the model or a choice cannot be used.
    """
    choices = {"product": product, "samples": samples, "steps": steps}
    return Denoiser.load(model, mr, std, device, choices).denoise(low, drf)


def predict(
    lows: Sequence[str | Path],
    images: Sequence[str | Path],
    *,
    mr: str | Path | None = None,
    stds: Sequence[str | Path] | None = None,
    model: str | Path | None = None,
    drf: float | None = None,
    device: str = "auto",
    **choices: object,
) -> None:
    """Write low-dose images denoised, their predicted standard deviations `stds`, and all sidecars.

    The parameters are those of `denoise`; `model` may be its ``model.json``, and is loaded once.
    Raises InputError before anything is computed where a file cannot be written; where anything else goes
    wrong, no image is half-written.
    """
    _check_targets(lows, images, mr, stds)
    denoiser = Denoiser.load(model, mr, stds is not None, device, choices)
    jobs = list(zip(lows, images, stds or [None] * len(lows), strict=True))
    for low, image, std in progress(jobs, f"{denoiser.method.key}: denoising"):
        _write(denoiser.denoise(low, drf), low, image, std)


@dataclass(frozen=True)
class Denoiser:
    """A loaded method and its folder, the MR of its scans and that image's file, and whether to predict the
    standard deviation."""

    method: Method
    folder: Path
    mr: Volume | None
    mr_file: str | Path | None
    std: bool

    @classmethod
    def load(
        cls, model: str | Path | None, mr: Image | None, std: bool, device: str, choices: dict
    ) -> "Denoiser":
        """Return the method in the folder `model`, else the package's; `choices` are for `Method.use`."""
        choices = {name: choice for name, choice in choices.items() if choice is not None}
        if choices.get("product") == "sample" and "samples" in choices and not std:
            raise InputError("samples is given, but the product is one sample; ask for std, or for average")
        folder = model_folder(model) if model else packaged("csrd" if mr is not None else "csrdnomr")
        loaded = method(str(read_json(folder / MODEL_FILE).get("method"))).load(folder)
        loaded.move(device)
        loaded.use(**choices)
        of_samples = [name for name in ("samples", "steps") if name in choices]
        if of_samples and not std and not loaded.draws_samples:
            raise InputError(
                f"{of_samples[0]} is given, but no sample is drawn; ask for std, or for the product average"
            )
        if mr is None or isinstance(mr, Volume):
            return cls(loaded, folder, mr, None, std)
        return cls(loaded, folder, Volume.load(mr, unit="arbitrary"), mr, std)

    def denoise(self, low: Image, drf: float | None) -> Denoised:
        """Return one scan denoised."""
        file = None if isinstance(low, Volume) else low
        pet, name = (low, "the low-dose image") if file is None else (Volume.load(file), file)
        if pet.unit in NOT_PET:
            raise InputError(
                f"{name} is no PET image (its unit is {pet.unit}); give the low-dose image there"
            )
        if drf is None and file is not None:
            drf = inherited(file).get("DoseReductionFactor", dose_of(file))
        estimated = drf is None
        if not estimated:
            _check_dose(drf, self.method)
        anatomy, registration = self._mr_on(pet)
        with naming(name):
            drf, image, std = applied(self.method, pet, anatomy, drf, with_spread=self.std)
        sources = [path for path in (file, self.mr_file) if path is not None]
        return Denoised(image, std, self._facts(drf, estimated, sources) | registration)

    def _mr_on(self, pet: Volume) -> tuple[Volume | None, dict]:
        """Return the MR on the PET's grid, for a method that wants it, and the registration if any."""
        if self.mr is None or not self.method.wants_mr:
            return None, {}
        if self.mr.same_grid(pet):
            return self.mr, {}
        name = self.mr_file or "the MR"
        print(f"{name}: registering it to the PET", file=sys.stderr, flush=True)
        with naming(name):
            matrix = register(self.mr, pet, REGISTRATION_SEED, threads=1)
        return resample(self.mr, pet, matrix, order=3), {"RegistrationMatrix": matrix.tolist()}

    def _facts(self, drf: float, estimated: bool, sources: list[str | Path]) -> dict:
        """Return the provenance in a sidecar: sources, model, choices, versions."""
        return {
            "DoseReductionFactor": int(drf) if float(drf).is_integer() else drf,
            **({"DoseReductionFactorEstimated": True} if estimated else {}),
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


def _write(found: Denoised, low: str | Path, image: str | Path, std: str | Path | None) -> None:
    """Write a denoised image, its standard deviation where there is one, and the sidecars."""
    label, unit = found.facts["Denoising"], found.image.unit
    text = f"PET at 1/{found.facts['DoseReductionFactor']:.3g} of the dose, denoised by {label}"
    save_with_sidecar(found.image, image, pet_sidecar(low, unit, Description=text, **found.facts))
    if std is not None:
        text = f"Standard deviation of the normal dose around {Path(image).name}, by {label}"
        save_with_sidecar(found.std, std, pet_sidecar(low, unit, Description=text, **found.facts))


def _check_targets(
    lows: Sequence[str | Path],
    images: Sequence[str | Path],
    mr: str | Path | None,
    stds: Sequence[str | Path] | None,
) -> None:
    """Raise InputError where an output cannot be written, is an input, or is named twice."""
    targets, sources = [*images, *(stds or [])], [*lows, *([mr] if mr else [])]
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


def _check_dose(drf: object, denoiser: Method) -> None:
    """Warn of a dose lower than those that the method was fitted to.

    Raises InputError where the dose reduction factor is no number of 1 or more.
    """
    if isinstance(drf, bool) or not isinstance(drf, int | float) or not (math.isfinite(drf) and drf >= 1):
        raise InputError(
            f"the dose reduction factor is {drf!r}; give a number of 1 or more by --drf, 4 for a quarter of "
            "the dose, or mend DoseReductionFactor in the sidecar"
        )
    if drf > denoiser.largest_drf:
        print(
            f"the dose reduction factor is {drf:g}; {denoiser.key} has learned nothing of doses beyond "
            f"{denoiser.largest_drf:g}, so do not trust the image",
            file=sys.stderr,
        )

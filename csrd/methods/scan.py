"""One scan denoised right away, on whatever grid it is: `csrd denoise`, and `csrd.denoise` from Python."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from csrd.align.derivatives import pet_sidecar, save_derivative
from csrd.align.register import register
from csrd.errors import InputError, naming
from csrd.io.files import inherited, read_json, refuse_locked
from csrd.io.volume import Volume
from csrd.methods import method
from csrd.methods.base import MODEL_FILE, Method
from csrd.methods.denoise import applied, load_pet, refuse_pet, story
from csrd.pretrained import packaged
from csrd.resample import resample

REGISTRATION_SEED = 2024
SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Denoised:
    """A denoised scan: `image` on the grid and in the unit of what was given, the standard deviation `std` of
    the normal dose around it where it was asked for, and `facts`: how it was made, as the sidecar says it."""

    image: Volume
    std: Volume | None
    facts: dict


def denoise(
    low: Volume | str | Path,
    mr: Volume | str | Path | None = None,
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
    factor, else the sidecar's, else told from the noise. `product`, `samples` and `steps` of the sampler
    are CSR-D's choices; `device` is auto, cpu or cuda.
    Raises InputError where an image, the model or a choice cannot be used.
    """
    if product == "sample" and samples and not std:
        raise InputError("samples is given, but the product is one sample; ask for std, or for average")
    pet = low if isinstance(low, Volume) else load_pet(low)
    refuse_pet(pet, "the low-dose image" if isinstance(low, Volume) else low)
    folder = Path(model) if model else packaged("csrd" if mr is not None else "csrdnomr")
    denoiser = method(str(read_json(folder / MODEL_FILE).get("method"))).load(folder)
    denoiser.move(device)
    choices = {"product": product, "samples": samples, "steps": steps}
    denoiser.use(**{name: choice for name, choice in choices.items() if choice is not None})
    if (samples or steps) and not std and not denoiser.draws_samples:
        asked = "samples" if samples else "steps"
        raise InputError(f"{asked} is given, but no sample is drawn; ask for std, or for the product average")
    if drf is None and not isinstance(low, Volume):
        drf = inherited(low).get("DoseReductionFactor")
    estimated = drf is None
    if not estimated:
        drf = _dose(drf, denoiser)
    anatomy, how = _anatomy(denoiser, mr, pet)
    with naming("the low-dose image" if isinstance(low, Volume) else low):
        drf, image, spread = applied(denoiser, pet, anatomy, drf, with_spread=std)
    sources = [path for path in (low, mr) if path is not None and not isinstance(path, Volume)]
    facts = story(denoiser, folder, drf, estimated, sources)
    return Denoised(image, spread, facts | how)


def denoise_file(
    low: str | Path,
    out: str | Path,
    *,
    mr: str | Path | None = None,
    std: str | Path | None = None,
    **choices,
) -> None:
    """Write a low-dose image denoised, its standard deviation where `std` says so, and their sidecars.

    `choices` are those of `denoise`. Raises InputError before anything is computed where `out` or `std`
    cannot be written; then, or where anything else goes wrong, neither is.
    """
    for target in (out, *([std] if std else [])):
        if not str(target).endswith(SUFFIXES):
            raise InputError(f"the output is {target}; name it with {' or '.join(SUFFIXES)}")
        for source in (low, *([mr] if mr else [])):
            if Path(target).resolve() == Path(source).resolve():
                raise InputError(f"{target} is an input too; choose another output file")
        refuse_locked(target)
    if mr and Path(mr).resolve() == Path(low).resolve():
        raise InputError(f"{mr} is given as the PET and as the MR; give the subject's T1w image as the MR")
    if std and Path(std).resolve() == Path(out).resolve():
        raise InputError(f"{out} is named for the image and for the standard deviation; choose two files")
    found = denoise(low, mr, std=std is not None, **choices)
    label, drf = found.facts["Denoising"], found.facts["DoseReductionFactor"]
    text = f"PET at 1/{drf:.3g} of the dose, denoised by {label}"
    save_derivative(found.image, out, pet_sidecar(low, found.image.unit, Description=text, **found.facts))
    if std:
        text = f"Standard deviation of the normal dose around {Path(out).name}, by {label}"
        save_derivative(found.std, std, pet_sidecar(low, found.image.unit, Description=text, **found.facts))


def _dose(drf: object, denoiser: Method) -> float:
    """Return a dose reduction factor that was given; say so where the method never saw so low a dose.

    Raises InputError where it is none.
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
    return drf


def _anatomy(denoiser: Method, mr: Volume | str | Path | None, pet: Volume) -> tuple[Volume | None, dict]:
    """Return the MR on the PET's grid, for a method that wants it, and what was done to it."""
    if mr is None or not denoiser.wants_mr:
        return None, {}
    anatomy = mr if isinstance(mr, Volume) else Volume.load(mr, unit="arbitrary")
    if anatomy.same_grid(pet):
        return anatomy, {}
    name = "the MR" if isinstance(mr, Volume) else mr
    print(f"{name}: registering it to the PET", file=sys.stderr, flush=True)
    with naming(name):
        matrix = register(anatomy, pet, REGISTRATION_SEED, threads=1)
    return resample(anatomy, pet, matrix, order=3), {"RegistrationMatrix": matrix.tolist()}

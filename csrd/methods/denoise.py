"""The denoise stage: one method on every dose of one subject, loaded once."""

import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

import csrd
from csrd.align.derivatives import bids_uri, pet_sidecar, save_derivative
from csrd.align.head import refuse_slab
from csrd.errors import InputError, naming
from csrd.io.files import sha256
from csrd.io.volume import Volume
from csrd.methods import method
from csrd.methods.base import MODEL_FILE, VOXEL_TOLERANCE, Method
from csrd.progress import progress
from csrd.resample import resample

PACKAGES = ("torch", "numpy")
NOT_PET = ("arbitrary", "label", "mask", "1/cm")  # units of the MR, of labels, masks and μ-maps


def denoise(
    key: str,
    model_dir: str | Path,
    lows: dict[float | None, str | Path],
    mr: str | Path | None,
    outs: dict[float | None, str | Path],
    spreads: dict[float | None, str | Path] | None = None,
    **choices: object,
) -> None:
    """Write the denoised image of each dose, with its sidecar, on the grid and in the unit of its input.

    Files are named by dose reduction factor, or None for a scan whose dose must be estimated from its noise.
    `spreads` is where standard deviations go, of a method that has them; `choices` are for `Method.use`.
    Raises InputError where the MR is not on the PET's grid or the model is not this method's.
    """
    denoiser = method(key).load(Path(model_dir))
    denoiser.use(**choices)
    anatomy = None if mr is None else Volume.load(mr, unit="arbitrary")
    for given, path in progress(list(lows.items()), f"{key}: denoising"):
        low = load_pet(path)
        if anatomy is not None and not anatomy.same_grid(low):
            raise InputError(f"{mr} is not on the grid of {path}; run the align stage on both")
        with naming(path):
            drf, out, spread = applied(denoiser, low, anatomy, given, with_spread=spreads is not None)
        sources = [source for source in (path, mr) if source is not None]
        facts = story(denoiser, model_dir, drf, given is None, sources)
        text = f"PET at 1/{drf:.3g} of the dose, denoised by {denoiser.label}"
        save_derivative(out, outs[given], pet_sidecar(path, out.unit, Description=text, **facts))
        if spread is not None:
            text = (
                f"Standard deviation of the normal dose around {Path(outs[given]).name}, by {denoiser.label}"
            )
            save_derivative(spread, spreads[given], pet_sidecar(path, out.unit, Description=text, **facts))


def applied(
    denoiser: Method, low: Volume, mr: Volume | None, drf: float | None, with_spread: bool
) -> tuple[float, Volume, Volume | None]:
    """Return the dose reduction factor, told from the noise where it is None, the image, and its spread.

    A network sees voxels of the size it was trained on: an image of others is resampled to them, and the
    result back. On the embedded cohort at 4 mm the error is a quarter less than on the image's own voxels.
    """
    refuse_slab(low)
    seen = _on_voxels_of(denoiser, low)
    anatomy = mr if mr is None or seen is low else resample(mr, seen, order=3)
    drf = denoiser.estimate_drf(seen) if drf is None else drf
    if with_spread:
        out, spread = denoiser.apply_with_std(seen, anatomy, drf)
    else:
        out, spread = denoiser.apply(seen, anatomy, drf), None
    assert out.same_grid(seen) and out.unit == low.unit and out.array.min() >= 0, (
        f"{denoiser.key} broke its contract"
    )
    if seen is not low:
        out = resample(out, low, order=3)
        out = out.like(np.maximum(out.array, 0))
        spread = spread and resample(spread, low, order=1)
    return drf, out, spread


def _on_voxels_of(denoiser: Method, low: Volume) -> Volume:
    """Return the image, upright, with voxels of the size that the method knows; itself if it has them."""
    turned = low.canonical()
    if denoiser.voxel_mm is None or np.allclose(turned.voxel_mm, denoiser.voxel_mm, rtol=VOXEL_TOLERANCE):
        return low
    step = denoiser.voxel_mm / turned.voxel_mm
    shape = np.ceil((np.asarray(turned.shape) - 1) / step).astype(int) + 1
    affine = turned.affine @ np.diag([*step, 1.0])
    return resample(turned, Volume(np.broadcast_to(np.float32(0), shape), affine), order=3)


def load_pet(path: str | Path) -> Volume:
    """Return a PET image.

    Raises InputError where the file cannot be read, or says that it is none.
    """
    pet = Volume.load(path)
    refuse_pet(pet, path)
    return pet


def refuse_pet(pet: Volume, name: str | Path) -> None:
    """Raise InputError where a volume's unit says that it is no PET."""
    if pet.unit in NOT_PET:
        raise InputError(f"{name} is no PET image (its unit is {pet.unit}); give the low-dose image there")


def story(
    denoiser: Method, model_dir: str | Path, drf: float, estimated: bool, sources: list[str | Path]
) -> dict:
    """Return what the sidecar of a denoised image says: of what, by which model and choices, and versions."""
    return {
        "DoseReductionFactor": int(drf) if float(drf).is_integer() else drf,
        **({"DoseReductionFactorEstimated": True} if estimated else {}),
        "Denoising": denoiser.label,
        "Sources": [bids_uri(source) for source in sources],
        "ModelSha256": sha256(Path(model_dir) / MODEL_FILE),
        "Versions": {
            "Python": platform.python_version(),
            "csrd": csrd.__version__,
            **{name: version(name) for name in PACKAGES},
        },
        **denoiser.facts(),
    }

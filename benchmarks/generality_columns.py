"""What `benchmarks/generality.py` makes of a kept scan, and what it measures in the result.

Columns are the untouched input, three filters whose strength is chosen against the truth (oracles: nobody
can choose so on a real scan), and models with and without MR.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from generality_scans import Scan
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from csrd.errors import InputError
from csrd.io.files import read_json, sha256, write_json
from csrd.io.volume import Volume
from csrd.methods.base import MODEL_FILE, robust_scale
from csrd.methods.scaling import noise_level
from csrd.methods.scan import denoise
from csrd.methods.tv import denoise_tv, search_weight
from csrd.metrics.coverage import covered
from csrd.metrics.image import psnr
from csrd.metrics.lesions import false_spots, mean_and_error, spot_recovery
from csrd.metrics.regions import LEFT_OUT
from csrd.pretrained import packaged
from csrd.resample import FWHM_PER_SIGMA
from csrd.virtual.template import REGIONS

LEVEL = 0.9
SAMPLES = 4  # behind the standard deviation
LEAST_ML = 5.0  # of a region whose bias is measured
SLAB_VOXELS = 120_000  # that the search of a filter's strength looks at
GAUSSIAN_MM, TV_WEIGHTS = (1.5, 3.0, 4.5, 6.0, 8.0, 11.0), (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
NLM_H, NLM_PATCH, NLM_DISTANCE = (0.3, 0.6, 1.0, 1.5, 2.2, 3.3), 3, 3  # h relative to the noise's level


@dataclass(frozen=True)
class Made:
    """A denoised image, its standard deviation where the column gives one, and how it was made."""

    image: Volume
    std: Volume | None
    how: dict


@dataclass(frozen=True)
class Column:
    """A column of the table. `identity` changes with whatever changes its images, but for the scan."""

    name: str
    make: Callable[[Scan, bool], Made]
    identity: str = ""
    uses_mr: bool = False
    gives_std: bool = False


def columns(models: Iterable[tuple[str, Path | None]]) -> list[Column]:
    """Return all columns: input, oracles, then each model with and without MR (None: the packaged one)."""
    found = [
        Column("input", lambda scan, _: Made(scan.low, None, {})),
        Column("oracle Gaussian", lambda scan, _: oracle(scan, gaussian, GAUSSIAN_MM)),
        Column("oracle TV", lambda scan, _: oracle(scan, tv, TV_WEIGHTS)),
        Column("oracle NLM", lambda scan, _: oracle(scan, nlm, NLM_H)),
    ]
    return found + [
        model_column(name, path, with_mr)
        for name, folder in models
        for with_mr in (True, False)
        if (path := model_folder(folder, with_mr))
    ]


def model_folder(folder: Path | None, with_mr: bool) -> Path | None:
    """Return the folder of a method: the packaged one, `folder`, or csrd or csrdnomr in it; else None."""
    key = "csrd" if with_mr else "csrdnomr"
    tried = [packaged(key)] if folder is None else [folder, folder / key]
    return next((path for path in tried if (path / MODEL_FILE).exists()), None)


def model_column(name: str, path: Path, with_mr: bool) -> Column:
    """Return the column of a fitted method."""

    def make(scan: Scan, std: bool) -> Made:
        mr = scan.mr if with_mr else None
        samples = SAMPLES if std else None
        found = denoise(scan.low, mr, model=path, drf=scan.facts["drf"], std=std, samples=samples)
        return Made(found.image, found.std, {"samples": SAMPLES})

    label = f"{name} with MR" if with_mr else f"{name} without MR"
    return Column(label, make, sha256(path / MODEL_FILE), uses_mr=with_mr, gives_std=True)


def gaussian(array: np.ndarray, scan: Scan, fwhm_mm: float) -> np.ndarray:
    """Return the array smoothed."""
    return ndimage.gaussian_filter(array, fwhm_mm / FWHM_PER_SIGMA / scan.low.voxel_mm)


def tv(array: np.ndarray, scan: Scan, weight: float) -> np.ndarray:
    """Return the array with little total variation."""
    return denoise_tv(array, robust_scale(scan.low, scan.mask), weight)


def nlm(array: np.ndarray, scan: Scan, h: float) -> np.ndarray:
    """Return the array by non-local means, `h` relative to the standard deviation of the noise."""
    sigma = noise_level(scan.low) * float(scan.low.array[scan.mask].mean())
    options = {"patch_size": NLM_PATCH, "patch_distance": NLM_DISTANCE, "fast_mode": True}
    return denoise_nl_means(array, h=h * sigma, **options).astype(np.float32)


def oracle(scan: Scan, smooth: Callable, candidates: tuple[float, ...]) -> Made:
    """Return the low dose filtered by the strength that leaves the least squared error to the truth."""
    box = slab(scan.mask)
    low, truth, mask = scan.low.array[box], scan.truth.array[box], scan.mask[box]

    def error(strength: float) -> float:
        return float(np.mean(np.square(smooth(low, scan, strength) - truth)[mask]))

    scores = search_weight(error, list(candidates))
    best = min(scores, key=scores.get)
    return Made(scan.low.like(smooth(scan.low.array, scan, best)), None, {"strength": best})


def slab(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the head's box, cut to its middle axial slices where it has more than `SLAB_VOXELS`."""
    x, y, z = ndimage.find_objects(mask.astype(np.uint8))[0]
    slices = max(8, SLAB_VOXELS // ((x.stop - x.start) * (y.stop - y.start)))
    spare = max(0, z.stop - z.start - slices) // 2
    return x, y, slice(z.start + spare, z.stop - spare)


def record(column: Column, scan: Scan, std: bool, folder: Path) -> dict | None:
    """Return what is measured in a column's image of a scan, as kept in `folder` or else made now.

    None where the model needs an MR and there is none. What does not look at the MR is made once for all
    scans that differ by it alone.
    """
    std = std and column.gives_std
    fuller = folder / f"{identity(column, scan, True)}.json"
    path = fuller if fuller.exists() else folder / f"{identity(column, scan, std)}.json"
    if not path.exists():
        try:
            made = column.make(scan, std) if scan.mr is not None or not column.uses_mr else None
        except InputError as error:
            print(f"{column.name}: {error}", flush=True)
            made = None
        found = None if made is None else {**measured(scan, made.image, made.std, SAMPLES), **made.how}
        write_json(path, {"column": column.name, "scan": scan.facts["name"], "found": found})
    return read_json(path)["found"]


def identity(column: Column, scan: Scan, std: bool) -> str:
    """Return a hash of all that the record depends on."""
    name = column.name if not column.identity else ""  # a model's name is the user's word
    parts = [name, column.identity, str(std), str(scan.facts["drf"]), str(column.uses_mr)]
    images = [scan.low, scan.normal, scan.truth, scan.mr if column.uses_mr else None]
    digest = hashlib.sha256("\0".join(parts).encode())
    for image in images:
        digest.update(b"none" if image is None else np.ascontiguousarray(image.array))
    return digest.hexdigest()[:24]


def measured(scan: Scan, image: Volume, std: Volume | None, samples: int) -> dict:
    """Return the figures of an image: against the normal dose and the truth, of regions, and of spots."""
    hot_cold = spot_recovery(image, scan.truth, scan.bare, scan.spots)
    tissue = (scan.labels > 0) & (scan.labels < REGIONS["csf"]) & scan.mask
    found = {kind: mean_and_error(values) for kind, values in hot_cold.items()}
    found["false_spots"] = false_spots(image.array, scan.truth.array, tissue, image.voxel_mm)
    for name, target in (("normal", scan.normal), ("truth", scan.truth)):
        wanted = target.array
        found[f"psnr_{name}"] = psnr(wanted, image.array, scan.mask, float(wanted[scan.mask].max()))
        biases = regional_bias(image.array, wanted, scan.labels * scan.mask, image.voxel_mm)
        found[f"bias_{name}"] = max(biases.values(), key=abs), float(np.mean(np.abs(list(biases.values()))))
        found[f"worst_region_{name}"] = max(biases, key=lambda region: abs(biases[region]))
        if std is not None:
            error = (wanted - image.array)[scan.mask]
            found[f"coverage_{name}"] = float(covered(error, std.array[scan.mask], samples, [LEVEL])[0])
    return found


def regional_bias(
    image: np.ndarray, wanted: np.ndarray, labels: np.ndarray, voxel_mm: np.ndarray
) -> dict[str, float]:
    """Return mean(image) / mean(wanted) − 1 of each region of brain tissue of at least `LEAST_ML`."""
    least = LEAST_ML * 1e3 / np.prod(voxel_mm)
    places = {name: labels == label for name, label in REGIONS.items() if name not in LEFT_OUT}
    return {
        name: float(image[where].mean() / wanted[where].mean() - 1)
        for name, where in places.items()
        if where.sum() >= least
    }

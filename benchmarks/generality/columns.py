"""The columns of the table: images made of a kept scan, and the figures measured in them.

Columns are the untouched input, three filters whose strength is chosen against the truth (oracles: nobody
can choose so on a real scan), and models with and without MR.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scans import Scan
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from csrd.api import denoise
from csrd.errors import InputError
from csrd.io.files import read_json, sha256, write_json
from csrd.io.volume import Volume
from csrd.methods import method
from csrd.methods.base import MODEL_FILE, robust_scale
from csrd.methods.learned import weights_of
from csrd.methods.learned.scaling import noise_level
from csrd.methods.tv import search_weight
from csrd.metrics.coverage import covered
from csrd.metrics.image import psnr
from csrd.metrics.lesions import false_spots, mean_and_error, spot_recovery
from csrd.metrics.regions import LEFT_OUT
from csrd.resample import FWHM_PER_SIGMA
from csrd.virtual.regions import REGIONS

INPUT, GAUSSIAN = "input", "oracle Gaussian"
LEVEL = 0.9
SAMPLES = 4  # behind the standard deviation
LEAST_ML = 5.0  # of a region whose bias is measured
SLAB_VOXELS = 120_000  # that the search of a filter's strength looks at
TV_ITERATIONS = 60  # 400 change the best image's PSNR by less than 0.1 dB
GAUSSIAN_MM, TV_WEIGHTS = (1.5, 3.0, 4.5, 6.0, 8.0, 11.0), (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
NLM_H, NLM_PATCH, NLM_DISTANCE = (0.3, 0.6, 1.0, 1.5, 2.2, 3.3), 3, 3  # h relative to the noise's level


@dataclass(frozen=True)
class Made:
    """A denoised image; its standard deviation, if any, from so many samples."""

    image: Volume
    std: Volume | None = None
    samples: int = SAMPLES


@dataclass(frozen=True)
class Column:
    """A column of the table.

    `make` returns the image of a scan, on request with its standard deviation. `identity`, else the name,
    stands for the weights or settings behind it: a record of others is not read.
    """

    name: str
    make: Callable[[Scan, bool], Made]
    identity: str = ""
    uses_mr: bool = False
    gives_std: bool = False


def filters() -> list[Column]:
    """Return the columns of the untouched input and of the oracles."""
    return [
        Column(INPUT, lambda scan, _: Made(scan.low)),
        Column(GAUSSIAN, lambda scan, _: oracle(scan, gaussian, GAUSSIAN_MM)),
        Column("oracle TV", lambda scan, _: oracle(scan, tv, TV_WEIGHTS), f"TV {TV_ITERATIONS}"),
        Column("oracle NLM", lambda scan, _: oracle(scan, nlm, NLM_H)),
    ]


def model_columns(name: str, folder: Path, without_mr: Path | None = None) -> list[Column]:
    """Return a model's columns: with MR if it has a use for one, and without.

    `without_mr` is the folder of the model for scans without MR, else it is `folder` too. A model that
    refuses such scans has no record in that column.
    """
    content = read_json(folder / MODEL_FILE)
    with_mr = [_model_column(f"{name} with MR", folder, True)] if method(content["method"]).wants_mr else []
    return [*with_mr, _model_column(f"{name} without MR", without_mr or folder, False)]


def _model_column(name: str, folder: Path, uses_mr: bool) -> Column:
    """Return the column of a fitted method; its identity is that of its card and its weights."""

    def make(scan: Scan, std: bool) -> Made:
        mr, samples = scan.mr if uses_mr else None, SAMPLES if std else None
        found = denoise(scan.low, mr, model=folder, drf=scan.facts["drf"], std=std, samples=samples)
        return Made(found.image, found.std, found.facts.get("Samples", SAMPLES))

    card = folder / MODEL_FILE
    identity = " ".join(sha256(file) for file in (card, weights_of(folder, read_json(card))))
    return Column(name, make, identity, uses_mr, gives_std=True)


def gaussian(array: np.ndarray, scan: Scan, fwhm_mm: float) -> np.ndarray:
    """Return the array smoothed."""
    return ndimage.gaussian_filter(array, fwhm_mm / FWHM_PER_SIGMA / scan.low.voxel_mm)


def tv(array: np.ndarray, scan: Scan, weight: float) -> np.ndarray:
    """Return the array with little total variation; `weight` is relative to a robust maximum.

    The number of iterations is fixed. Ended by a fall of the energy, as `csrd.methods.tv` ends them, the
    error is no smooth function of the weight, and changes with the field of view.
    """
    scale = np.float32(robust_scale(scan.low, scan.mask))
    found = denoise_tv_chambolle(array / scale, weight=weight, eps=0, max_num_iter=TV_ITERATIONS)
    return (np.maximum(found, 0) * scale).astype(np.float32)


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
    return Made(scan.low.like(smooth(scan.low.array, scan, best)))


def slab(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the head's box, cut to its middle axial slices where it has more than `SLAB_VOXELS`."""
    x, y, z = ndimage.find_objects(mask.astype(np.uint8))[0]
    slices = max(8, SLAB_VOXELS // ((x.stop - x.start) * (y.stop - y.start)))
    spare = max(0, z.stop - z.start - slices) // 2
    return x, y, slice(z.start + spare, z.stop - spare)


def record(column: Column, scan: Scan, std: bool, folder: Path, anew: bool = False) -> dict | None:
    """Return what is measured in a column's image of a scan, from `folder` if it is there and not `anew`.

    None where the model refuses the scan, and where it needs an MR and there is none. What does not use the
    MR is made once for all scans that differ by it alone.
    """
    std = std and column.gives_std
    fuller = folder / f"{identity(column, scan, True)}.json"
    path = fuller if fuller.exists() else folder / f"{identity(column, scan, std)}.json"
    if anew or not path.exists():
        try:
            made = column.make(scan, std) if scan.mr is not None or not column.uses_mr else None
            found, refused = made and measured(scan, made), None
        except InputError as error:
            found, refused = None, str(error)
        write_json(
            path, {"column": column.name, "scan": scan.facts["name"], "found": found, "refused": refused}
        )
    return read_json(path)["found"]


def identity(column: Column, scan: Scan, std: bool) -> str:
    """Return a hash of all that the record depends on."""
    samples = str(SAMPLES if std else 0)
    parts = [column.identity or column.name, samples, str(scan.facts["drf"]), str(column.uses_mr)]
    images = [scan.low, scan.normal, scan.truth, scan.mr if column.uses_mr else None]
    digest = hashlib.sha256("\0".join(parts).encode())
    for image in images:
        digest.update(b"none" if image is None else np.ascontiguousarray(image.array))
    return digest.hexdigest()[:24]


def measured(scan: Scan, made: Made) -> dict:
    """Return the figures of an image: against the normal dose and the truth, of regions, and of spots."""
    image, std = made.image, made.std
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
            found[f"coverage_{name}"] = float(covered(error, std.array[scan.mask], made.samples, [LEVEL])[0])
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

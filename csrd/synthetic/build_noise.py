"""The file of noise fields, from OSEM reconstructions of a uniform phantom by the embedded engine.

    python -m csrd.synthetic.build_noise noise.npz

A cylinder of a head's size is simulated once a scanner. Its coincidences are divided among independent
realisations, and each is reconstructed without a filter at several voxel sizes, numbers of counts and of
iterations, with and without a resolution model. A field is the image minus its smooth mean, over its local
standard deviation; its skewness is kept. About 20 minutes on one core.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from csrd.config.sections import Psf
from csrd.io.files import whole_file
from csrd.io.volume import Volume, centred_affine
from csrd.recon.embedded import detection
from csrd.recon.osem import EDGE_OF_VIEW, subsets_of
from csrd.recon.sensitivity import geometric_sensitivity, subject_sensitivity
from csrd.scanner import projector
from csrd.scanner.geometry import Scanner, hrrt, mmr
from csrd.scanner.response import blur
from csrd.seeds import generator, seed_sequence
from csrd.synthetic.conditions import FINE_MM
from csrd.synthetic.noise import FILTERS_MM, packed
from csrd.units import SIGMA_PER_FWHM
from csrd.virtual.acquire import crystal_efficiencies
from csrd.virtual.anatomy import MU_SOFT
from csrd.virtual.decays import Decays

SEED = 19
RADII_MM, HALF_LENGTH_MM = (85.0, 105.0), 95.0  # of the cylinder, elliptic as a head is
FIELD_MM = (112.0, 140.0, 120.0)  # the part that is kept: its corners lie inside the cylinder
PHANTOM_VOXEL_MM = 3.0
SUBSETS = 16
LINES = 4_000_000
PILOT_S = 1e-3
ORDER = 4  # of the polynomial that is the smooth mean
LOCAL_MM = 12.0  # sigma over which a standard deviation is local


@dataclass(frozen=True)
class Run:
    """Reconstructions of `prompts` coincidences on voxels of `voxel_mm`, kept after `iterations`.

    `psf` names the model in `RESOLUTION`.
    """

    voxel_mm: float
    psf: str
    prompts: float
    iterations: tuple[int, ...]


RESOLUTION = {
    "none": None,
    "narrow": Psf(),
    "wide": Psf(sigma_mm=1.8, tail_sigma_mm=3.5, tail_fraction=0.05),
}
# Voxels that divide the distance between rings: the sensitivity is exact, and quick to compute
RUNS = {
    "HRRT": (
        *(Run(2.4375, "narrow", n, its) for n, its in ((5e5, (1, 2)), (2e6, (1, 2, 4)), (8e6, (1, 2, 4)))),
        *(Run(2.4375, "none", n, (1, 2)) for n in (2e6, 8e6)),
        Run(1.21875, "narrow", 4e6, (1,)),
    ),
    "Siemens Biograph mMR": (
        *(Run(2.03125, "narrow", n, its) for n, its in ((5e5, (1,)), (2e6, (1, 2)), (8e6, (1, 2)))),
        *(Run(2.03125, "wide", n, its) for n, its in ((2e6, (1, 2, 4)), (8e6, (1, 2)))),
        *(Run(4.0625, psf, 1e6, (1, 4)) for psf in ("none", "wide")),
    ),
}


def cylinder(voxel_mm: float, value: float, unit: str) -> Volume:
    """Return the phantom with `value` inside, on a grid that holds it."""
    half = np.array([*RADII_MM, HALF_LENGTH_MM])
    shape = tuple(int(2 * np.ceil((h + 6) / voxel_mm)) for h in half)
    affine = centred_affine(shape, voxel_mm)
    x, y, z = (i * voxel_mm + affine[a, 3] for a, i in enumerate(np.ogrid[tuple(map(slice, shape))]))
    inside = ((x / half[0]) ** 2 + (y / half[1]) ** 2 <= 1) & (abs(z) <= half[2])
    return Volume((inside * value).astype(np.float32), affine, unit)


def coincidences(scanner: Scanner, efficiencies: np.ndarray, number: float) -> np.ndarray:
    """Return about `number` true coincidences of the phantom in random order, (N, 2) uint32."""
    activity, mumap = (cylinder(PHANTOM_VOXEL_MM, v, u) for v, u in ((1e4, "Bq/mL"), (MU_SOFT, "1/cm")))
    decays = Decays.of(activity, mumap, efficiencies, scanner)
    pilot = len(decays.follow(PILOT_S * 1e3, seed_sequence(SEED, "pilot", scanner.name), 1)) / (PILOT_S * 1e3)
    found = decays.follow(1.02 * number / pilot, seed_sequence(SEED, "decays", scanner.name), 1)
    return found[generator(SEED, "order", scanner.name).permutation(len(found))]


def iterates(
    crystals: np.ndarray, sensitivity: Volume, scanner: Scanner, psf: Psf | None, kept: tuple[int, ...]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (iterations, image) of OSEM (see `csrd.recon.osem`) after each number of iterations in `kept`."""
    voxel, origin = sensitivity.voxel_mm, sensitivity.affine[:3, 3]

    def blurred(image: np.ndarray) -> np.ndarray:
        return image if psf is None else blur(image, voxel, **psf.model_dump())

    share = blurred(sensitivity.array / SUBSETS)
    seen = share > EDGE_OF_VIEW * share.max()
    image = np.where(seen, len(crystals) / SUBSETS / share[seen].sum(), 0).astype(np.float32)
    groups = subsets_of(len(crystals), SUBSETS, generator(SEED, "osem"))
    images, none = projector.private_images(sensitivity.shape), np.zeros(len(crystals), np.float32)
    for iteration in range(1, max(kept) + 1):
        for group in groups:
            found = projector.em_back(
                blurred(image), crystals[group], scanner.crystal_positions, none[group], origin, voxel, images
            )
            image = image * np.divide(blurred(found), share, out=np.zeros_like(image), where=seen)
        if iteration in kept:
            yield iteration, image


def standardised(image: np.ndarray, voxel_mm: float) -> tuple[np.ndarray, float]:
    """Return the noise in the phantom's middle over its local standard deviation, and the relative noise."""
    box = tuple(
        slice((n - k) // 2, (n - k) // 2 + k)
        for n, k in zip(image.shape, (int(mm / voxel_mm) for mm in FIELD_MM), strict=True)
    )
    part = image[box].astype(np.float64)
    mean = _smooth_mean(part)
    noise = part - mean
    local = np.sqrt(ndimage.gaussian_filter(noise**2, LOCAL_MM / voxel_mm, mode="reflect"))
    return noise / local, float(np.mean(local / mean))


def _smooth_mean(image: np.ndarray) -> np.ndarray:
    """Return the polynomial of order `ORDER` in x, y, z that fits an image best."""
    axes = [np.linspace(-1, 1, n) for n in image.shape]
    powers = [np.polynomial.legendre.legvander(axis, ORDER) for axis in axes]
    # Legendre polynomials on a regular grid are nearly orthogonal: a least-squares fit axis by axis
    weights = np.einsum("xyz,ax,by,cz->abc", image, *(np.linalg.pinv(p) for p in powers), optimize=True)
    orders = np.add.outer(np.add.outer(np.arange(ORDER + 1), np.arange(ORDER + 1)), np.arange(ORDER + 1))
    return np.einsum("abc,xa,yb,zc->xyz", weights * (orders <= ORDER), *powers, optimize=True)


def remaining(field: np.ndarray, voxel_mm: float) -> list[float]:
    """Return the standard deviation, finer than 6 mm, that filters of `FILTERS_MM` leave of a field."""
    left = []
    for fwhm_mm in FILTERS_MM:
        image = ndimage.gaussian_filter(field, fwhm_mm * SIGMA_PER_FWHM / voxel_mm, mode="reflect")
        fine = image - ndimage.gaussian_filter(image, FINE_MM / voxel_mm, mode="reflect")
        left.append(1.4826 * float(np.median(np.abs(fine - np.median(fine)))))
    return left


def fields(scanner: Scanner, runs: tuple[Run, ...]) -> Iterator[tuple[dict, np.ndarray]]:
    """Yield facts and field (X, Y, Z) int8 of every reconstruction that is kept."""
    efficiencies = crystal_efficiencies(scanner, SEED, "noise")
    events = coincidences(scanner, efficiencies, max(run.prompts for run in runs))
    for voxel_mm in sorted({run.voxel_mm for run in runs}, reverse=True):
        mumap = cylinder(voxel_mm, MU_SOFT, "1/cm")
        geometric = geometric_sensitivity(scanner, mumap.shape, voxel_mm)
        sensitivity = subject_sensitivity(scanner, geometric, mumap, efficiencies, LINES, SEED, "noise")
        for number, run in enumerate(run for run in runs if run.voxel_mm == voxel_mm):
            # independent events, as long as there are enough
            start = (number * int(run.prompts)) % max(len(events) - int(run.prompts), 1)
            some = events[start : start + int(run.prompts)]
            some = some[scanner.neighbours_first(some)]
            some = some[detection(some, mumap, efficiencies, scanner) > 0]
            psf = RESOLUTION[run.psf]
            for iterations, image in iterates(some, sensitivity, scanner, psf, run.iterations):
                field, relative = standardised(image, voxel_mm)
                facts = asdict(run) | {
                    "scanner": scanner.name,
                    "iterations": iterations,
                    "relative": relative,
                    "skewness": float(np.mean(field**3) / np.mean(field**2) ** 1.5),
                    "remaining": remaining(field, voxel_mm),
                }
                yield facts, packed(field)


def build(out: Path) -> None:
    """Write the file `out` with the fields of all runs."""
    found = [pair for scanner in (hrrt(), mmr()) for pair in fields(scanner, RUNS[scanner.name])]
    arrays: dict[str, Any] = {f"field-{i:03d}": field for i, (_, field) in enumerate(found)}
    facts = {"subsets": SUBSETS, "fields": [facts for facts, _ in found]}
    with whole_file(out) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, facts=json.dumps(facts), **arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    build(parser.parse_args().out)

"""Rigid registration of the MR to the PET, that of the atlas, and cropping of volumes.

Matrices are 4 by 4, in RAS+ mm. They map a point of the fixed (PET) world to the moving (MR) world, the
direction that resampling needs.
"""

import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from csrd.align.head import head_mask
from csrd.errors import InputError, notice
from csrd.extras import require
from csrd.io.volume import Volume
from csrd.process import ITK_ON_ONE_THREAD, environment
from csrd.resample import resample
from csrd.rotations import rigid, rotation

if TYPE_CHECKING:
    import ants

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# Mutual information gains nothing from voxels finer than PET's resolution, and time grows with their number.
WORKING_MM = 2.0
SCREENING_MM = 6.0
BINS = 32
# Pitch is how heads differ most between two scanners; the optimiser finds yaw and roll of 15° by itself.
START_PITCHES_DEG = (0.0, -12.0, 12.0, -24.0, 24.0)
OPTIMISED_STARTS = 2
FINE_RUNS = 3
JUDGING_MM = 3.0
WARP_ITERATIONS = (40, 20, 0)  # on voxels 4, 2 and 1 times as large
SHEAR_TOLERANCE = 1e-3
# Fractions of the PET's head inside the MR. Mean errors of a head phantom whose MR was cut on all sides:
# below 0.3 mm from 0.77 on, 0.3 to 0.8 mm from 0.61 to 0.75, and 0.9 to 9 mm at 0.51 and less.
LEAST_COVERED, WELL_COVERED = 0.6, 0.75


def register(
    moving: Volume, fixed: Volume, seed: int, threads: int, kind: Literal["Rigid", "Affine"] = "Rigid"
) -> np.ndarray:
    """Return the rigid (or, by `kind`, affine) matrix moving-world <- fixed-world in RAS+ mm, (4, 4).

    Maximises Mattes' mutual information (ANTs). Ten starting matrices are compared: scanner coordinates as
    they are or centres of mass aligned, each at five pitches. The best two are optimised coarsely, and the
    better one finely, three times. The best of the three is returned: the optimiser uses a sample of the
    voxels, on which its result depends by up to a millimetre.
    The result is the same bit for bit for one seed: ITK runs on one thread, since its sums otherwise depend
    on timing, and `threads` are used only for comparing the starts.
    Raises InputError for an empty or sheared volume.
    """
    require("register", "registering an MR")
    with environment(**ITK_ON_ONE_THREAD), _seeds_kept():
        return _register(moving, fixed, seed, threads, kind)


def _register(moving: Volume, fixed: Volume, seed: int, threads: int, kind: str) -> np.ndarray:
    moving, fixed = _prepared(moving), _prepared(fixed)
    centre, offset = _centre_of_mass(fixed), _centre_of_mass(moving) - _centre_of_mass(fixed)
    turns = [rotation(np.array((pitch, 0, 0))) for pitch in np.deg2rad(START_PITCHES_DEG)]
    starts = [rigid(turn, shift, centre) for shift in (np.zeros(3), offset) for turn in turns]

    images = _for_ants(moving), _for_ants(fixed)
    coarse = [
        _optimise(*images, start, seed, iterations=(100,), shrink=(4,), smoothing=(2,), sampling=0.5)
        for start in _best_first(starts, moving, fixed, threads)[:OPTIMISED_STARTS]
    ]
    found = [_best_first(coarse, moving, fixed, threads)[0]]
    for run in range(FINE_RUNS):  # each continues from the last, on another sample of the voxels
        fine: dict[str, Any] = {
            "iterations": (60, 60),
            "shrink": (3, 2),
            "smoothing": (1, 1),
            "sampling": 0.4,
            "kind": kind,
        }
        found.append(_optimise(*images, found[-1], seed + run, **fine))
    return _best_first(found, moving, fixed, threads, voxel_mm=JUDGING_MM)[0]


def warped_labels(labels: Volume, moving: Volume, fixed: Volume, seed: int) -> np.ndarray:
    """Return `labels` (X, Y, Z) of an image on the voxels of `fixed`, deformed as the image fits to it.

    `moving`, the image, and its labels lie on the grid of `fixed` after an affine registration (ANTs' SyN,
    coarse levels only: its field is smooth). The result is the same bit for bit for one seed.
    """
    import ants

    with environment(**ITK_ON_ONE_THREAD), _seeds_kept():
        ants.config.set_ants_deterministic(True, seed_value=seed % (2**31 - 1) + 1)
        onto, image = (_for_ants(_scaled(volume)) for volume in (fixed, moving))
        how: dict[str, Any] = {"initial_transform": "identity", "reg_iterations": WARP_ITERATIONS}
        with tempfile.TemporaryDirectory() as folder:
            prefix = str(Path(folder, "out"))
            found = ants.registration(onto, image, type_of_transform="SyNOnly", outprefix=prefix, **how)
            named = _for_ants(labels.like(labels.array.astype(np.float32)))
            moved = ants.apply_transforms(onto, named, found["fwdtransforms"], interpolator="nearestNeighbor")
    return np.rint(moved.numpy()).astype(labels.array.dtype)


def _scaled(volume: Volume) -> Volume:
    """Return the volume over the 99.5th percentile of its voxels above zero, float32."""
    top = np.percentile(volume.array[volume.array > 0], 99.5)
    return volume.like(np.clip(volume.array / top, 0, 1).astype(np.float32))


@contextmanager
def _seeds_kept() -> Iterator[None]:
    """Restore the states of Python's and numpy's generators, which ANTs' seeding changes too."""
    import ants

    before = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        ants.config.set_ants_deterministic(False, None)
        random.setstate(before[0])
        np.random.set_state(before[1])


def check_cover(mr: Volume, pet: Volume, matrix: np.ndarray) -> float:
    """Return the fraction of the PET's head mask that lies in the field of view of a registered MR.

    Warns below `WELL_COVERED`. Raises InputError below `LEAST_COVERED`.
    """
    head = np.argwhere(head_mask(pet))
    lookup = np.linalg.inv(mr.affine) @ matrix @ pet.affine
    index = head @ lookup[:3, :3].T + lookup[:3, 3]
    covered = float(((index > -0.5) & (index < np.array(mr.shape) - 0.5)).all(axis=1).mean())
    if covered < LEAST_COVERED:
        raise InputError(
            f"the MR covers {covered:.0%} of the PET's head, too little to be registered; "
            "leave it out, or give one of the whole head"
        )
    if covered < WELL_COVERED:
        notice(f"the MR covers {covered:.0%} of the PET's head: its registration may be off by a millimetre")
    return covered


def crop(volume: Volume, shape: tuple[int, int, int], centre_mm: np.ndarray) -> Volume:
    """Return the box of `shape` voxels whose centre is nearest to `centre_mm` (3,), zero outside the volume.

    Voxels are copied, never interpolated, and the affine is exact.
    """
    index = np.linalg.solve(volume.affine, np.append(centre_mm, 1.0))[:3]
    # Rounding twice: a centre between two voxels must not depend on the last bits of the affine.
    start = np.rint(np.round(index - (np.asarray(shape) - 1) / 2, 6)).astype(int)
    stop = start + shape
    box = np.zeros(shape, volume.array.dtype)
    lower, upper = np.clip(start, 0, volume.shape), np.clip(stop, 0, volume.shape)
    inside = tuple(slice(a, max(a, b)) for a, b in zip(lower, upper, strict=True))
    target = tuple(slice(a - s, max(a, b) - s) for a, b, s in zip(lower, upper, start, strict=True))
    if all(part.stop > part.start for part in inside):
        box[target] = volume.array[inside]
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ np.append(start, 1.0))[:3]
    return Volume(box, affine, volume.unit)


def _prepared(volume: Volume) -> Volume:
    """Return the volume for registration: at most `WORKING_MM` fine, outliers cut, values in 0 … 1."""
    refuse_unregistrable(volume)
    volume = _coarsened(volume, WORKING_MM)
    return _scaled(volume)


def refuse_unregistrable(volume: Volume) -> None:
    """Raise InputError for an empty or sheared volume."""
    _refuse_shear(volume)
    if not (volume.array > 0).any():
        raise InputError("an image to be registered has no voxel above zero; check that it is the right file")


def _coarsened(volume: Volume, voxel_mm: float) -> Volume:
    """Return the volume with voxels of `voxel_mm` along every axis that is finer, same field of view."""
    step = np.maximum(voxel_mm / volume.voxel_mm, 1.0)
    shape = np.ceil(np.asarray(volume.shape) / step).astype(int)
    affine = volume.affine @ np.diag([*step, 1.0])
    # An explicit identity interpolates even on an equal grid; where it was copied, a head ended 1.3 mm off
    return resample(volume, Volume(np.empty(shape, np.float32), affine), np.eye(4), order=1)


def _refuse_shear(volume: Volume) -> None:
    axes = volume.affine[:3, :3] / volume.voxel_mm
    if not np.allclose(axes.T @ axes, np.eye(3), atol=SHEAR_TOLERANCE):
        raise InputError("an image to be registered has sheared axes; resample it onto a rectangular grid")


def _centre_of_mass(volume: Volume) -> np.ndarray:
    """Return the centre of mass, RAS+ mm, (3,)."""
    return (volume.affine @ np.append(ndimage.center_of_mass(volume.array), 1.0))[:3]


def _for_ants(volume: Volume) -> "ants.ANTsImage":
    """Return the volume as an ANTs image: in LPS, with spacing and direction separate."""
    import ants

    affine, spacing = RAS_TO_LPS @ volume.affine, volume.voxel_mm
    return ants.from_numpy(
        volume.array,
        origin=affine[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=affine[:3, :3] / spacing,
    )


def _optimise(
    moving: "ants.ANTsImage",
    fixed: "ants.ANTsImage",
    start: np.ndarray,
    seed: int,
    *,
    iterations: tuple[int, ...],
    shrink: tuple[int, ...],
    smoothing: tuple[int, ...],
    sampling: float,
    kind: str = "Rigid",
) -> np.ndarray:
    """Return the matrix (RAS+ mm) of that kind that ANTs reaches from `start`.

    Levels go from coarse to fine: `iterations`, grid step `shrink` and Gaussian sigma `smoothing` (both in
    voxels) of each; `sampling` is the fraction of the voxels used.
    """
    import ants

    # `registration` ignores its own `random_seed`; this one reaches ITK, where 0 means the clock.
    ants.config.set_ants_deterministic(True, seed_value=seed % (2**31 - 1) + 1)
    with tempfile.TemporaryDirectory() as folder:
        initial = Path(folder, "start.mat")
        _write_transform(start, initial)
        result = ants.registration(
            fixed,
            moving,
            type_of_transform=kind,
            initial_transform=str(initial),
            outprefix=str(Path(folder, "out")),
            aff_metric="mattes",
            aff_sampling=BINS,
            aff_random_sampling_rate=sampling,
            aff_iterations=iterations,
            aff_shrink_factors=shrink,
            aff_smoothing_sigmas=smoothing,
        )
        return _read_transform(Path(result["fwdtransforms"][0]))


def _write_transform(matrix: np.ndarray, path: Path) -> None:
    """Write a RAS+ matrix as an ITK transform (LPS)."""
    import ants

    lps = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        dimension=3,
        matrix=lps[:3, :3],
        offset=lps[:3, 3],
    )
    ants.write_transform(transform, str(path))


def _read_transform(path: Path) -> np.ndarray:
    """Return an ITK transform file as a RAS+ matrix: y = M (x - c) + c + t in LPS."""
    import ants

    transform = ants.read_transform(str(path))
    rotation = np.reshape(transform.parameters[:9], (3, 3))
    centre = np.asarray(transform.fixed_parameters)
    lps = np.eye(4)
    lps[:3, :3] = rotation
    lps[:3, 3] = np.asarray(transform.parameters[9:]) + centre - rotation @ centre
    return RAS_TO_LPS @ lps @ RAS_TO_LPS


def _best_first(
    matrices: list[np.ndarray], moving: Volume, fixed: Volume, threads: int, voxel_mm: float = SCREENING_MM
) -> list[np.ndarray]:
    """Return the matrices by falling mutual information on a grid of `voxel_mm`."""
    moving, fixed = _coarsened(moving, voxel_mm), _coarsened(fixed, voxel_mm)
    with ThreadPoolExecutor(threads) as pool:
        scores = list(pool.map(lambda matrix: _mutual_information(moving, fixed, matrix), matrices))
    return [matrices[i] for i in np.argsort(scores, stable=True)[::-1]]


def _mutual_information(moving: Volume, fixed: Volume, matrix: np.ndarray) -> float:
    """Return the mutual information (nat) of the two images' grey levels under `matrix`."""
    moved = resample(moving, fixed, matrix, order=1)
    joint = np.histogram2d(moved.array.ravel(), fixed.array.ravel(), bins=BINS)[0]
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / independent[seen])))

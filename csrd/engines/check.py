"""Check of an outside engine's image: orientation and scale, against a quick image by the embedded engine.

The quick image has coarse voxels, at most a million events of the same scan, and as many updates as the
engine's where these are few. Both are smoothed; then all 48 orientations of the engine's image are correlated
with it, and places and totals are compared. What does not agree is compared with quick images that lack one
correction, so that the missing one can be named.
"""

import itertools
import math
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as shifted

from csrd.config.sections import Recon
from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.listmode import EventBlock, ListMode, open_listmode, thin
from csrd.listmode.base import EVENTS_AT_A_TIME, Survey
from csrd.listmode.events import PROMPT
from csrd.recon import embedded
from csrd.recon.sensitivity import geometric_sensitivity, subject_sensitivity
from csrd.resample import resample
from csrd.scanner.geometry import Scanner
from csrd.units import SIGMA_PER_FWHM

VOXEL_MM = 9.0  # of the quick image, about; a multiple of the rings' distance
PROMPTS = 1_000_000  # at most
LINES = 2_000_000  # random ones, behind the sensitivity
UPDATES = 24  # of the quick image, at most: totals of 18 and of 48 differ by less than 1 %
SUBSETS = 8  # at most
SMOOTHING_MM = 12.0  # FWHM of a Gaussian on both images
SEEN = 0.2  # of the largest sensitivity: where images are compared
UPTAKE = 0.1  # of the largest uptake, likewise
TURNED = 0.01  # by which another orientation's or place's correlation must be better
DISPLACED = 1.0  # voxels of the quick image, beyond which an image lies elsewhere
NEAR = 0.01  # difference of shape that says nothing
NEARER = 0.8  # ratio of shapes below which an image without a correction is the likelier one
UNLIKE = 0.7  # correlation with the quick image below which nothing is alike
UNLIKE_WITHOUT_MUMAP = 0.4  # the quick image may then lack the attenuation that the engine corrected for
TOTAL = 0.1  # largest difference of totals
REMEDY = "mend the command, see docs/recon-hooks.md, or set recon.command.check: false to keep such images"
LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
Turn = tuple[tuple[int, int, int], tuple[int, int, int]]
UPRIGHT: Turn = ((0, 1, 2), (1, 1, 1))


@dataclass(frozen=True)
class Comparison:
    """Agreement of two images: correlation, ratio of totals, and the best other orientation and place.

    `turn` is the best other orientation. `shape` is the root of the mean squared difference over that of the
    quick image, at the best scale. `place` (3,) is where the image lies, seen from the quick one, in voxels.
    """

    correlation: float
    total: float
    shape: float
    turn: Turn
    turned_correlation: float
    place: np.ndarray
    moved_correlation: float


@dataclass(frozen=True)
class QuickRecon:
    """A scan prepared for quick images, on a cube of coarse voxels.

    `mumap` returns the μ-map (1/cm) for a grid. `drf` is the scan's, and `fraction` by how much its events
    were thinned further for the quick images, which have `updates` updates, or about as many.
    """

    listmode: ListMode
    scanner: Scanner
    mumap: Callable[[Volume], Volume] | None
    efficiencies: np.ndarray
    scatter_table: np.ndarray | None
    scatter: Literal["none", "once", "own"] | None
    updates: int
    geometric: Volume
    drf: float
    fraction: float
    seed: int
    subject: str

    def image(
        self,
        attenuation: bool = True,
        efficiencies: bool = True,
        randoms: bool = True,
        scatter: bool = True,
    ) -> Volume:
        """Return the quick image in Bq/mL, smoothed, without the corrections that are False."""
        mumap = self.geometric.like(np.zeros(self.geometric.shape, np.float32), "1/cm")
        if attenuation and self.mumap is not None:
            mumap = self.mumap(self.geometric)
        values = (
            self.efficiencies if efficiencies else np.full_like(self.efficiencies, self.efficiencies.mean())
        )
        arrays = mumap, values, LINES, self.seed, self.subject
        sensitivity = subject_sensitivity(self.scanner, self.geometric, *arrays)
        listmode = self.listmode if randoms else WithoutDelayeds(self.listmode)
        pet, _ = embedded.reconstruct(
            cast(ListMode, listmode),
            mumap,
            values,
            sensitivity,
            self.scanner,
            self._settings(scatter),
            self.drf * self.fraction,
            self.seed,
            self.subject,
            scatter_table=self.scatter_table if attenuation and scatter else None,
        )
        return pet

    def _settings(self, scatter: bool) -> Recon:
        shape, voxel_mm = self.geometric.shape, float(self.geometric.voxel_mm[0])
        grid = {"matrix": shape, "voxel_mm": voxel_mm}
        iterations = math.ceil(self.updates / SUBSETS)
        return Recon(
            **grid,
            subsets=round(self.updates / iterations),
            iterations=iterations,
            psf=None,
            postfilter_fwhm_mm=SMOOTHING_MM,
            scatter=self.scatter if scatter else "none",
        )

    def compare(self, image: Volume, quick: Volume) -> "Comparison":
        """Return the comparison of an engine's image with a quick one, where the scanner sees enough."""
        coarse = resample(image, quick)
        sigma = SMOOTHING_MM * SIGMA_PER_FWHM / quick.voxel_mm
        seen = self.geometric.array > SEEN * self.geometric.array.max()
        return compared(gaussian_filter(coarse.array, sigma), quick.array, seen)


@contextmanager
def quick_recon(
    listmode: ListMode,
    scanner: Scanner,
    mumap: Callable[[Volume], Volume] | None,
    efficiencies: np.ndarray,
    scatter_table: np.ndarray | None,
    field_mm: np.ndarray,
    scatter: Literal["none", "once", "own"] | None,
    updates: int | None,
    drf: float,
    seed: int,
    subject: str,
) -> Iterator[QuickRecon]:
    """Yield a scan's events, at most about `PROMPTS`, with a cube of coarse voxels.

    `field_mm` (3,) are the edges of the image to be checked, and `updates` the number of its updates, None
    where it is not known. An image of few is unfinished: how much of the activity it has depends on both, and
    so it is compared with a quick one of the same. The other arguments are those of `QuickRecon`.
    """
    voxel_mm = scanner.ring_pitch_mm * max(1, round(VOXEL_MM / scanner.ring_pitch_mm))
    edge = math.ceil(field_mm.max() / voxel_mm)
    geometric = _within(geometric_sensitivity(scanner, (edge, edge, edge), voxel_mm), field_mm)
    fraction = max(1.0, listmode.survey().counts[PROMPT] / PROMPTS)
    with tempfile.TemporaryDirectory(prefix="csrd-check-") as folder:
        if fraction > 1:
            few = Path(folder) / f"few{listmode.path.suffix}"
            thin(listmode.path, few, fraction, seed)
            listmode = open_listmode(few)
        arrays = mumap, efficiencies, scatter_table, scatter, min(updates or UPDATES, UPDATES), geometric
        yield QuickRecon(listmode, scanner, *arrays, drf, fraction, seed, subject)


def _within(sensitivity: Volume, field_mm: np.ndarray) -> Volume:
    """Return a sensitivity that is 0 in voxels whose centre is beyond a field of `field_mm` (3,)."""
    inside = np.ones(sensitivity.shape, bool)
    for axis, (n, mm, edge) in enumerate(zip(sensitivity.shape, sensitivity.voxel_mm, field_mm, strict=True)):
        near = abs(np.arange(n) - (n - 1) / 2) * mm <= edge / 2
        inside &= np.expand_dims(near, [other for other in range(3) if other != axis])
    return sensitivity.like(sensitivity.array * inside)


class WithoutDelayeds:
    """A list-mode file without its delayeds, hence without an estimate of randoms."""

    def __init__(self, listmode: ListMode) -> None:
        self.listmode: ListMode = listmode

    def __getattr__(self, name: str) -> object:
        return getattr(self.listmode, name)

    def blocks(self, events: int = EVENTS_AT_A_TIME) -> Generator[EventBlock, None, Survey]:
        """Yield the file's blocks with their prompts only; return the survey."""
        blocks = self.listmode.blocks(events)
        survey: Survey
        while True:
            try:
                block = next(blocks)
            except StopIteration as end:
                survey = end.value
                return survey
            kept = block.prompt
            yield EventBlock(block.crystals[kept], block.prompt[kept], block.time_ms[kept])


def check_image(image: Volume, quick: QuickRecon, reference: Volume, calibrated: bool) -> dict:
    """Return the sidecar's entry on an image that agrees with `reference`, the quick image.

    The totals count where the image is `calibrated`, in Bq/mL. Raises InputError that names what is wrong: a
    flip or turn, another place, a missing correction, a factor.
    """
    found = quick.compare(image, reference)
    if found.turned_correlation > max(found.correlation + TURNED, found.moved_correlation, UNLIKE):
        raise InputError(f"{_turned(found)}; {REMEDY}")
    far = float(np.abs(found.place).max()) > DISPLACED
    if far and found.moved_correlation > max(found.correlation + TURNED, UNLIKE):
        raise InputError(f"{_displaced(found, reference.voxel_mm)}; {REMEDY}")
    wrong_total = calibrated and abs(found.total - 1) > TOTAL
    if wrong_total and (factor := _factor(found.total, quick.drf)):
        raise InputError(f"{_times(found)}: {factor}; {REMEDY}")
    if found.shape > NEAR and (lacking := _lacking(image, quick, found, calibrated)):
        raise InputError(f"the command's image agrees better with one made without {lacking}; {REMEDY}")
    if wrong_total:
        raise InputError(f"{_times(found)}{_as_without_scatter(image, quick)}; {REMEDY}")
    if found.correlation < (UNLIKE if quick.mumap is not None else UNLIKE_WITHOUT_MUMAP):
        raise InputError(
            f"the command's image is unlike a quick one by the embedded engine (correlation "
            f"{found.correlation:.3f}); {REMEDY}"
        )
    return {
        "Correlation": round(found.correlation, 4),
        **({"Total": round(found.total, 3)} if calibrated else {}),
        "VoxelMm": round(float(reference.voxel_mm[0]), 4),
    }


def compared(image: np.ndarray, quick: np.ndarray, seen: np.ndarray) -> Comparison:
    """Return the comparison of two smooth images (N, N, N) in the voxels that are `seen`.

    The totals are those of voxels with uptake in the quick image; correlations include voxels with uptake
    in the engine's image alone.
    """
    image, quick = image * seen, quick * seen
    body = quick > UPTAKE * quick.max()
    total = float(image[body].sum(dtype=float) / quick[body].sum(dtype=float))
    scaled = image * (float((image * quick).sum()) / max(float((image * image).sum()), 1e-30))
    shape = float(np.linalg.norm(scaled - quick) / np.linalg.norm(quick))
    upright = correlation(image, quick)
    others = {turn: correlation(turned(image, turn), quick) for turn in turns() if turn != UPRIGHT}
    best = max(others, key=lambda turn: others[turn])
    place = displacement(image, quick)
    moved = correlation(shifted(image, -place, order=1), quick)
    return Comparison(upright, total, shape, best, others[best], place, moved)


def displacement(image: np.ndarray, quick: np.ndarray) -> np.ndarray:
    """Return where an image lies, seen from a like one, in voxels (3,): their cross-correlation's maximum."""
    from skimage.registration import phase_cross_correlation

    shift, _, _ = phase_cross_correlation(quick, image, upsample_factor=10, normalization=None)
    return -np.asarray(shift)


def correlation(image: np.ndarray, quick: np.ndarray) -> float:
    """Return Pearson's correlation where either image has uptake; 0 where one is constant."""
    body = (quick > UPTAKE * quick.max()) | (image > UPTAKE * image.max())
    a, b = image[body].astype(float), quick[body].astype(float)
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def turns() -> list[Turn]:
    """Return the 48 orientations of a cube: orders of its axes, and directions of each."""
    orders, directions = itertools.permutations((0, 1, 2)), list(itertools.product((1, -1), repeat=3))
    return [(order, signs) for order in orders for signs in directions]  # type: ignore[misc]


def turned(image: np.ndarray, turn: Turn) -> np.ndarray:
    """Return a cube (N, N, N) with its axes in another order, those of sign −1 reversed."""
    order, signs = turn
    return image.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]


def _turned(found: Comparison) -> str:
    """Return a sentence on the orientation that an image has in place of the right one."""
    order, signs = found.turn
    runs = {order[to]: LETTERS[to][(signs[to] + 1) // 2] for to in range(3)}
    letters = ", ".join(runs[axis] for axis in range(3))
    flips = [axis for axis in range(3) if signs[axis] < 0]
    name = "its axes are interchanged"
    if order == UPRIGHT[0]:
        (about,) = set(range(3)) - set(flips) if len(flips) == 2 else (flips[0],)
        name = {
            1: f"it is mirrored along {'xyz'[about]}",
            2: f"it is turned by 180° about {'xyz'[about]}",
            3: "it is mirrored through the centre",
        }[len(flips)]
    return (
        f"the command's image does not lie as the events do: {name}, that is, its x, y, z in RAS+ run to "
        f"{letters} (correlation {found.turned_correlation:.3f}, as it is {found.correlation:.3f})"
    )


def _displaced(found: Comparison, voxel_mm: np.ndarray) -> str:
    """Return a sentence on the place that an image has in place of the right one."""
    mm = ", ".join(f"{value:.0f}" for value in found.place * voxel_mm)
    return (
        f"the command's image lies {mm} mm along x, y, z from the events' place, as if its header named "
        f"another grid (correlation {found.moved_correlation:.3f} there, as it is {found.correlation:.3f})"
    )


def _times(found: Comparison) -> str:
    return (
        f"the command's image has {found.total:.3g} times the activity of a quick one by the embedded engine"
    )


def _factor(total: float, drf: float) -> str:
    """Return the reason for a wrong total that is a known factor; "" for none."""
    reasons = {1e-3: "its unit is kBq/mL", 1e3: "it is multiplied by 1000"}
    if drf > 1 + 2 * TOTAL:
        reasons |= {1 / drf: "it is not scaled for the dose", drf: "it is scaled for the dose twice"}
    near = [reason for factor, reason in reasons.items() if abs(total / factor - 1) < TOTAL]
    return near[0] if near else ""


def _as_without_scatter(image: Volume, quick: QuickRecon) -> str:
    """Return a remark where an image has the total of a quick one without scatter correction; else ""."""
    if quick.mumap is None or quick.scatter == "none":
        return ""
    total = quick.compare(image, quick.image(scatter=False)).total
    return ", as one without scatter correction would have" if abs(total - 1) < TOTAL else ""


def _lacking(image: Volume, quick: QuickRecon, found: Comparison, calibrated: bool) -> str:
    """Return the correction without which a quick image has the engine's shape; "" for none.

    A factor alone is no missing correction: the shape must be nearer, and the total not farther. Scatter is
    not among them: right images are nearer in shape to a quick one without it.
    """
    without = {"efficiencies of crystals": {"efficiencies": False}, "randoms": {"randoms": False}}
    if quick.mumap is not None:
        without["attenuation"] = {"attenuation": False}
    best, least = "", min(NEARER * found.shape, found.shape - NEAR)
    for name, corrections in without.items():
        other = quick.compare(image, quick.image(**corrections))
        farther = calibrated and abs(other.total - 1) > max(abs(found.total - 1), TOTAL)
        if other.shape < least and not farther:
            best, least = name, other.shape
    return best

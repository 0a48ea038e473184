"""Event-wise list-mode OP-OSEM: ordered subsets of the events, ordinary Poisson, image-space resolution.

x ← x / (H S/M) · H Aᵀ_m [ 1 / (A H x + c) ]   for the M subsets m of the events in turn

with A Joseph's projector, H the blur, S the sensitivity in counts per unit of x, and c the randoms and
scatter expected on the event's line, divided by the line's own factor (normalisation, attenuation, time).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.progress import progress
from csrd.scanner import projector
from csrd.scanner.geometry import Scanner
from csrd.scanner.response import blur

if TYPE_CHECKING:
    from csrd.config.sections import Psf

EDGE_OF_VIEW = 1e-3  # of the largest sensitivity; voxels below it stay 0
Part = tuple[
    Any, Any
]  # events' crystals (N, 2), and c of their lines (N,) float32: arrays, or a device's tensors


@dataclass(frozen=True)
class Events:
    """Events in memory: their crystals (N, 2), c of their lines (N,), and their indices by subset."""

    crystals: np.ndarray
    additive: np.ndarray
    groups: Sequence[np.ndarray]

    @property
    def count(self) -> int:
        """Return the number of events."""
        return len(self.crystals)

    @property
    def subsets(self) -> int:
        """Return the number of subsets."""
        return len(self.groups)

    def of(self, subset: int) -> Iterator[Part]:
        """Yield the events of a subset, in parts."""
        group = self.groups[subset]
        yield self.crystals[group], self.additive[group]


@dataclass(frozen=True)
class PackedEvents:
    """The same of a long scan: the events of each subset in parts, 12 bytes an event and no index."""

    parts: Sequence[Sequence[Part]]

    @property
    def count(self) -> int:
        """Return the number of events."""
        return sum(len(additive) for parts in self.parts for _, additive in parts)

    @property
    def subsets(self) -> int:
        """Return the number of subsets."""
        return len(self.parts)

    def of(self, subset: int) -> Iterator[Part]:
        """Yield the events of a subset, in parts."""
        yield from self.parts[subset]


def osem(
    crystals: np.ndarray,
    additive: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    psf: "Psf | None",
    subsets: int,
    iterations: int,
    draw: np.random.Generator,
    device: str = "cpu",
) -> np.ndarray:
    """Return the image x (X, Y, Z) float32, in the unit that `sensitivity` is counts per unit of.

    `crystals` is (N, 2) uint32, one row an event, best in `Scanner.neighbours_first` order;
    `additive` is c (N,) float32 in the unit of x times mm. `draw` divides the events into
    subsets; `device` is that of `projector_on`. About 40 bytes of memory an event.
    """
    events = Events(crystals, additive, subsets_of(len(crystals), subsets, draw))
    return osem_of(events, sensitivity, scanner, psf, iterations, device)


def osem_of(
    events: Events | PackedEvents,
    sensitivity: Volume,
    scanner: Scanner,
    psf: "Psf | None",
    iterations: int,
    device: str = "cpu",
) -> np.ndarray:
    """Return the image of events that are divided into subsets; the other arguments as in `osem`."""
    voxel, subsets = sensitivity.voxel_mm, events.subsets

    def blurred(image: np.ndarray) -> np.ndarray:
        return (
            image if psf is None else blur(image, voxel, psf.sigma_mm, psf.tail_sigma_mm, psf.tail_fraction)
        )

    share = blurred(sensitivity.array / subsets)
    seen = share > EDGE_OF_VIEW * share.max()
    image = np.where(seen, events.count / subsets / share[seen].sum(), 0).astype(np.float32)
    if projector_on(device) is projector:
        update, result = _cpu_update(events, scanner, sensitivity, share, seen, blurred)
    else:
        from csrd.recon.osem_cuda import cuda_update

        update, result = cuda_update(events, scanner, sensitivity, share, seen, psf)
    for number in progress(list(range(subsets)) * iterations, "OSEM"):
        image = update(image, number)
    return result(image)


def _cpu_update(
    events: Events | PackedEvents, scanner: Scanner, grid: Volume, share, seen, blurred
) -> tuple[Callable, Callable]:
    """Return the function (image, subset) to the next image, and the one to the finished image."""
    images, positions = projector.private_images(grid.shape), scanner.crystal_positions
    origin, voxel = grid.affine[:3, 3], grid.voxel_mm

    def update(image: np.ndarray, number: int) -> np.ndarray:
        found = projector.em_back_parts(blurred(image), events.of(number), positions, origin, voxel, images)
        return image * np.divide(blurred(found), share, out=np.zeros_like(image), where=seen)

    return update, lambda image: image


def projector_on(device: str) -> ModuleType:
    """Return the projector for "cpu", for "cuda", or ("auto") for CUDA if there is a device.

    Raises InputError where "cuda" is requested and there is none.
    """
    if device == "cpu":
        return projector
    from csrd.scanner import projector_cuda

    if projector_cuda.available():
        return projector_cuda
    if device == "cuda":
        raise InputError("recon.device is cuda, but no CUDA device was found; set it to auto or cpu")
    return projector


def subsets_of(events: int, subsets: int, draw: np.random.Generator) -> list[np.ndarray]:
    """Return the events' indices, random and equally many in each subset, ascending inside it."""
    member = draw.permutation(np.arange(events, dtype=np.uint32)) % np.uint32(subsets)
    return [np.flatnonzero(member == subset).astype(np.uint32) for subset in range(subsets)]

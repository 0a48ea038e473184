"""PETSIRD's scanner, a set of boxes, as flat heads of layers, rings and columns of crystals.

A head is all modules in one plane: those with the same direction and the same distance from the axis. Its
crystals form columns, rings and layers. A gap as wide as a number of crystals is filled with places that
detect nothing; smaller gaps between blocks are distributed evenly. A crystal's index is
((head · layers + layer) · rings + ring) · columns + column, heads by their angle from +y towards +x; rings
run with +z, and columns as `scanner.geometry.Scanner` says.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import petsird

from csrd.errors import InputError

SAME_MM, SAME_COSINE = 0.5, 0.9999  # tolerances of one plane and one row
OFF_PLACE = 0.25  # of the pitch: largest distance of a crystal from its place in the grid
MAX_PLACES = 1 << 24
NO_CRYSTAL = -1
ANNIHILATION_KEV = 511.0


@dataclass(frozen=True)
class ModulePairs:
    """Efficiencies of lines by the pair of modules that they join, as PETSIRD has them.

    `group` (M, M) is the symmetry group of a pair of modules, −1 where they are not in coincidence; `values`
    (groups, bins, bins) has the higher module's bins first. `share` (C, windows) is the fraction of a
    crystal's efficiency in each energy window; `module` and `element` (C,) identify the crystal, −1 none.
    """

    group: np.ndarray
    values: np.ndarray
    share: np.ndarray
    module: np.ndarray
    element: np.ndarray

    def of(self, crystals: np.ndarray) -> np.ndarray:
        """Return the efficiency (N,) of each line between crystals (N, 2), without those of the crystals."""
        modules = self.module[crystals]
        swap = (modules[:, 0] < modules[:, 1])[:, None]
        high, low = np.where(swap, crystals[:, ::-1], crystals).T
        group = self.group[self.module[high], self.module[low]]
        windows = self.share.shape[1]
        factors = np.zeros(len(crystals), np.float32)
        for first, second in product(range(windows), range(windows)):
            values = self.values[
                group, self.element[high] * windows + first, self.element[low] * windows + second
            ]
            factors += self.share[high, first] * self.share[low, second] * values
        return np.where((group >= 0) & (modules >= 0).all(axis=1), factors, 0).astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """The crystals of a scanner of flat heads; see `scanner.geometry.Scanner` for the first names.

    `energy_window_keV` and `energy_fwhm` (at 511 keV, relative) are None where the file has no usable ones.
    `crystal_of_bin` (bins,) is the crystal of each detection bin. `efficiencies` (C,) float32 are the file's,
    0 at places without a crystal. `module_pairs` is None where the file has none, or equal ones.
    """

    name: str
    head_normals: np.ndarray
    head_pairs: np.ndarray
    face_radius_mm: float
    columns: int
    rings: int
    layers: int
    pitch_mm: float
    ring_pitch_mm: float
    layer_mm: float
    energy_window_keV: tuple[float, float] | None
    energy_fwhm: float | None
    crystal_of_bin: np.ndarray
    efficiencies: np.ndarray
    module_pairs: ModulePairs | None

    @classmethod
    def of(cls, scanner: petsird.ScannerInformation, path: Path, tables: list[np.ndarray]) -> "Grid":
        """Return the grid of a scanner; `path` is for the error message.

        `tables` are the efficiencies of lines by detection bins of two modules, one for each symmetry group.

        Raises InputError for several types of modules, crystals that are not upright boxes, heads at
        different distances, crystals off a regular grid, or tables of the wrong size.
        """
        try:
            return _grid(scanner, tables)
        except _NoGridError as error:
            raise InputError(
                f"the scanner of {path} is not one of flat heads with a grid of crystals ({error}); count "
                "and thin the file, or reconstruct it by recon.engine: command"
            ) from None

    def bin_of_crystal(self) -> np.ndarray:
        """Return the first detection bin of each crystal, (C,) int64, NO_CRYSTAL where there is none."""
        bins = np.full(len(self.efficiencies), NO_CRYSTAL)
        bins[self.crystal_of_bin[::-1]] = np.arange(len(self.crystal_of_bin))[::-1]
        return bins

    def coincide(self, crystals: np.ndarray) -> np.ndarray:
        """Return which lines between crystals (N, 2) join heads in coincidence, (N,) bool."""
        heads = crystals // (self.layers * self.rings * self.columns)
        allowed = np.zeros((len(self.head_normals),) * 2, bool)
        a, b = self.head_pairs.T
        allowed[a, b] = allowed[b, a] = True
        return allowed[heads[:, 0], heads[:, 1]]


class _NoGridError(Exception):
    """The reason why a scanner is not a grid."""


def _grid(scanner: petsird.ScannerInformation, tables: list[np.ndarray]) -> Grid:
    types = scanner.scanner_geometry.replicated_modules
    if len(types) != 1:
        raise _NoGridError(f"it has {len(types)} types of modules")
    modules = _matrices(types[0].transforms)
    elements = _matrices(types[0].object.detecting_elements.transforms)
    low, high = _box(types[0].object.detecting_elements.object.shape)
    middle = np.append((low + high) / 2, 1)
    centres = np.einsum("mij,ejk,k->mei", modules, elements, middle)[..., :3]
    centres[..., 2] -= (centres[..., 2].min() + centres[..., 2].max()) / 2
    normals, sizes = _orientation(modules, elements, high - low, centres)
    head, head_normals = _heads(normals)
    tangents = np.stack([head_normals[:, 1], -head_normals[:, 0]], axis=1)
    depths = np.einsum("mei,mi->me", centres, head_normals[head])
    across = np.einsum("mei,mi->me", centres[..., :2], tangents[head])
    layer, layers, radius = _layers(depths, head, sizes[0])
    column, columns, pitch = _row(across, sizes[1], "across the axis")
    ring, rings, ring_pitch = _row(centres[..., 2], sizes[2], "along the axis")
    per_head = layers * rings * columns
    if len(head_normals) * per_head > MAX_PLACES:
        raise _NoGridError(f"its grid would have {len(head_normals) * per_head} places")
    crystal = ((head[:, None] * layers + layer) * rings + ring) * columns + column
    if len(np.unique(crystal)) < crystal.size:
        raise _NoGridError("two of its crystals are at one place")
    places = len(head_normals) * per_head
    efficiencies, share = _efficiencies(scanner, crystal.ravel(), places)
    group = _groups(scanner, len(modules))
    return Grid(
        name=scanner.model_name or "unknown",
        head_normals=np.column_stack([head_normals[:, :2], np.zeros(len(head_normals))]),
        head_pairs=_head_pairs(group, head),
        face_radius_mm=radius,
        columns=columns,
        rings=rings,
        layers=layers,
        pitch_mm=pitch,
        ring_pitch_mm=ring_pitch,
        layer_mm=float(sizes[0]),
        energy_window_keV=_energy_window(scanner),
        energy_fwhm=_energy_fwhm(scanner),
        crystal_of_bin=crystal.ravel().repeat(share.shape[1]),
        efficiencies=efficiencies,
        module_pairs=_module_pairs(tables, group, crystal, share),
    )


def _matrices(transforms: list[petsird.RigidTransformation]) -> np.ndarray:
    """Return rigid transformations as (N, 4, 4) float64."""
    if not transforms:
        raise _NoGridError("it has no crystals")
    matrices = np.zeros((len(transforms), 4, 4))
    matrices[:, :3] = [transform.matrix for transform in transforms]
    matrices[:, 3, 3] = 1
    turns = matrices[:, :3, :3]
    if not np.isfinite(matrices).all() or abs(matrices).max() > 1e5:
        raise _NoGridError("a transformation has values that are not positions in mm")
    if not np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3), atol=1e-3):
        raise _NoGridError("a transformation is not rigid")
    return matrices


def _box(shape: petsird.BoxShape) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest corner of a box along the axes, (3,) each in mm."""
    corners = np.array([corner.c for corner in shape.corners], float)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if not np.isfinite(corners).all() or not (high - low > 0.05).all():
        raise _NoGridError("its crystals have no volume")
    bits = (corners - low) / (high - low)
    upright = np.minimum(bits, 1 - bits).max() < 1e-3
    if not upright or len(np.unique(bits.round(), axis=0)) != 8:
        raise _NoGridError("its crystals are not boxes along the axes")
    return low, high


def _orientation(
    modules: np.ndarray, elements: np.ndarray, size: np.ndarray, centres: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each module's outward direction (M, 3), and a crystal's depth, width and length in mm."""
    axes = np.einsum("mij,ejk->meik", modules, elements)[..., :3, :3]  # of each crystal, as columns
    if not np.allclose(abs(axes), abs(axes[:, :1]), atol=1e-2):
        raise _NoGridError("the crystals of a module are turned against one another")
    axes = axes[:, 0]
    outwards = centres.mean(axis=1) * [1, 1, 0]
    if np.linalg.norm(outwards, axis=1).min() < 1:
        raise _NoGridError("a module lies on its axis")
    along = np.einsum("mi,mik->mk", outwards, axes)
    deep = abs(along).argmax(axis=1)
    axial = abs(axes[:, 2]).argmax(axis=1)
    wide = 3 - deep - axial
    each = np.arange(len(axes))
    normals = axes[each, :, deep] * np.sign(along[each, deep])[:, None]
    if (deep == axial).any() or abs(axes[each, 2, axial]).min() < SAME_COSINE:
        raise _NoGridError("a module is tilted against the axis")
    sizes = np.stack([size[deep], size[wide], size[axial]], axis=1)
    if np.ptp(sizes, axis=0).max() > 1e-3:
        raise _NoGridError("its modules have different orientations")
    return normals, sizes[0]


def _heads(normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the head of each module (M,), and the heads' outward normals (H, 3) by angle."""
    angles = np.arctan2(normals[:, 0], normals[:, 1]) % (2 * np.pi)
    angles[angles > 2 * np.pi - 1e-3] = 0
    order = np.argsort(angles, kind="stable")
    steps = np.diff(angles[order], prepend=angles[order[0]])
    head = np.empty(len(angles), int)
    head[order] = np.cumsum(steps > np.arccos(SAME_COSINE))
    first = np.unique(head, return_index=True)[1]
    return head, normals[first]


def _layers(depths: np.ndarray, head: np.ndarray, size: float) -> tuple[np.ndarray, int, float]:
    """Return each crystal's layer (M, E), their number, and the distance of the front face in mm."""
    nearest = depths.min()
    layer = np.round((depths - nearest) / size).astype(int)
    if abs(depths - nearest - layer * size).max() > SAME_MM:
        raise _NoGridError("its heads are at different distances from the axis")
    radius = float(nearest - size / 2)
    if radius < 1:
        raise _NoGridError("a head reaches to the axis")
    front = np.full(head.max() + 1, layer.max())
    np.minimum.at(front, head, layer.min(axis=1))
    if front.max() > 0:
        raise _NoGridError("its heads are at different distances from the axis")
    return layer, int(layer.max()) + 1, radius


def _row(places: np.ndarray, size: float, direction: str) -> tuple[np.ndarray, int, float]:
    """Return each crystal's number in its row (M, E), the length of rows, and the pitch in mm.

    Rows are centred on 0. First all distinct positions are assumed to be neighbours; if they are not even,
    the smallest distance is assumed to be the pitch.
    """
    found = np.sort(places.ravel())
    groups = np.split(found, np.flatnonzero(np.diff(found) > size / 10) + 1)
    distinct = np.array([part.mean() for part in groups])
    steps = np.diff(distinct)
    if len(distinct) == 1:
        pitches = [float(size)]
    else:
        pitches = [float(steps.mean()), float(steps[steps < 1.5 * steps.min()].mean())]
    for pitch in (pitch for pitch in pitches if pitch > 0.9 * size):  # crystals do not overlap
        for half in (0.0, 0.5):  # an odd number of places, or an even one
            number = np.round(places / pitch - half)
            reach = max(number.max(), -number.min() - 2 * half)
            even = abs(places / pitch - half - number).max() < OFF_PLACE
            if even and reach <= MAX_PLACES:
                count = int(2 * reach + 1 + 2 * half)
                return (number + half + (count - 1) / 2).astype(int), count, pitch
    raise _NoGridError(f"its crystals are not evenly spaced around the middle {direction}")


def _efficiencies(
    scanner: petsird.ScannerInformation, crystal: np.ndarray, places: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the efficiency of each place (C,) over all energy windows, and their fractions (C, windows)."""
    windows = len(scanner.event_energy_bin_edges[0].edges) - 1
    said = scanner.detection_efficiencies.detection_bin_efficiencies
    bins = np.array(said[0] if said else [], np.float64)
    if len(bins) == 0:
        bins = np.full(len(crystal) * windows, 1 / windows)
    if bins.shape != (len(crystal) * windows,):
        raise _NoGridError(f"it has {len(bins)} efficiencies for {len(crystal) * windows} detection bins")
    if not (np.isfinite(bins).all() and (bins >= 0).all() and bins.any()):
        raise _NoGridError("efficiencies are negative or not finite")
    by_window = np.zeros((places, windows))
    by_window[crystal] = bins.reshape(-1, windows)
    total = by_window.sum(axis=1)
    share = np.divide(by_window, total[:, None], out=np.zeros_like(by_window), where=total[:, None] > 0)
    return total.astype(np.float32), share.astype(np.float32)


def _energy_window(scanner: petsird.ScannerInformation) -> tuple[float, float] | None:
    """Return the lowest and the highest energy of all windows in keV, if 511 keV lies between."""
    edges = np.array(scanner.event_energy_bin_edges[0].edges, np.float64)
    return (float(edges[0]), float(edges[-1])) if edges[0] < ANNIHILATION_KEV < edges[-1] else None


def _energy_fwhm(scanner: petsird.ScannerInformation) -> float | None:
    """Return the energy resolution, a fraction of 511 keV."""
    said = scanner.energy_resolution_at_511
    return float(said[0]) if said and 0 < said[0] < 1 else None


def _groups(scanner: petsird.ScannerInformation, modules: int) -> np.ndarray:
    """Return the symmetry group of each pair of modules (M, M), −1 where they are not in coincidence."""
    said = scanner.detection_efficiencies.module_pair_sgidlut
    table = said[0][0] if said and said[0] else []
    if not table:
        return np.where(np.eye(modules, dtype=bool), -1, 0)
    if len(table) != modules or any(len(row) <= number for number, row in enumerate(table)):
        raise _NoGridError(f"its table of coincidences does not have a row for each of {modules} modules")
    group = np.full((modules, modules), -1)
    for number, row in enumerate(table):
        group[number, : number + 1] = group[: number + 1, number] = row[: number + 1]
    return group


def _head_pairs(group: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Return the pairs of different heads in coincidence (P, 2), the lower first."""
    heads = head.max() + 1
    joined, all_of = np.zeros((heads, heads), int), np.zeros((heads, heads), int)
    np.add.at(joined, (head[:, None], head[None]), group >= 0)
    np.add.at(all_of, (head[:, None], head[None]), 1)
    between = ~np.eye(heads, dtype=bool)
    if ((joined > 0) & (joined < all_of) & between).any():
        raise _NoGridError("only some modules of two heads are in coincidence")
    pairs = np.argwhere(np.triu((joined > 0) & between))
    if len(pairs) == 0:
        raise _NoGridError("no two heads are in coincidence")
    return pairs


def _module_pairs(
    tables: list[np.ndarray], group: np.ndarray, crystal: np.ndarray, share: np.ndarray
) -> ModulePairs | None:
    """Return the efficiencies of lines by their modules, None where there are none, or all are equal."""
    if not tables:
        return None
    size = crystal.shape[1] * share.shape[1]
    if group.max() >= len(tables):
        raise _NoGridError(f"it has {len(tables)} tables of efficiencies for {group.max() + 1} groups")
    if any(table.shape != (size, size) for table in tables):
        raise _NoGridError(f"efficiencies of a pair of modules are not a table of {size} × {size}")
    values = np.array(tables, np.float32)
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise _NoGridError("efficiencies of module pairs are negative or not finite")
    if np.ptp(values) == 0:
        return None
    module, element = np.full((2, len(share)), NO_CRYSTAL)
    module[crystal], element[crystal] = np.indices(crystal.shape)
    return ModulePairs(group, values, share, module, element)

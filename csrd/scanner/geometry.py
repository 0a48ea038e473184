"""Scanner geometry: positions and orientations of crystals, and heads in coincidence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from csrd.errors import InputError
from csrd.listmode import mmr_bins

LSO_MU_PER_MM = 0.087  # linear attenuation of LSO at 511 keV


@dataclass(frozen=True)
class Scanner:
    """A PET scanner made of flat heads, each a regular grid of crystals in one or two layers.

    Scanner coordinates are RAS+ mm with the scanner's centre at 0 and z along its axis. Crystal
    `c` belongs to head `c // crystals_per_head`; inside a head the order is layer, ring, column.
    """

    name: str
    head_normals: np.ndarray  # (H, 3) outward unit normals; z component 0
    head_pairs: np.ndarray  # (P, 2) heads in coincidence, lower head first
    face_radius_mm: float  # from the axis to the front face of a head
    columns: int  # crystals of a head across the axis
    rings: int  # crystals of a head along the axis
    layers: int
    pitch_mm: float  # mean distance between neighbouring crystals across the axis
    ring_pitch_mm: float  # and along it
    max_ring_difference: int  # of the crystals of a line
    layer_mm: float  # depth of one layer
    mu_per_mm: float = LSO_MU_PER_MM
    energy_window_keV: tuple[float, float] = (400.0, 650.0)
    energy_fwhm: float = 0.15  # of a crystal, relative, at 511 keV
    efficiencies: np.ndarray | None = None  # (C,) float32 where the scan's own file has them
    measured_factors: Callable[[np.ndarray], np.ndarray] | None = (
        None  # of lines (N, 2), in place of computed
    )

    @property
    def heads(self) -> int:
        return len(self.head_normals)

    @property
    def crystals_per_head(self) -> int:
        return self.layers * self.rings * self.columns

    @property
    def crystals(self) -> int:
        return self.heads * self.crystals_per_head

    @property
    def own_efficiencies(self) -> np.ndarray:
        """Return the crystals' efficiencies (C,) as the scan's own file has them, without any all 1."""
        return np.ones(self.crystals, np.float32) if self.efficiencies is None else self.efficiencies

    @property
    def head_tangents(self) -> np.ndarray:
        """Return the direction of increasing column, (H, 3): head normal turned by -90° about z."""
        normals = self.head_normals
        return np.stack([normals[:, 1], -normals[:, 0], np.zeros(self.heads)], axis=1)

    @property
    def interaction_depths_mm(self) -> np.ndarray:
        """Return each layer's mean depth of interaction below the front face, (layers,) in mm.

        The mean of an exponential law with `mu_per_mm`, cut to the layer, at normal incidence. One
        radius for both layers would shift every line that ends in the back layer.
        """
        mu, depth = self.mu_per_mm, self.layer_mm
        within = 1 / mu - depth * np.exp(-mu * depth) / (1 - np.exp(-mu * depth))
        return np.arange(self.layers) * depth + within

    def crystal_index(self, head, layer, ring, column):
        """Return the index of a crystal; the arguments may be arrays."""
        return ((head * self.layers + layer) * self.rings + ring) * self.columns + column

    @property
    def crystal_positions(self) -> np.ndarray:
        """Return the mean interaction point of every crystal, (C, 3) float32 mm."""
        return _positions(self)

    @property
    def crystal_layers(self) -> np.ndarray:
        """Return the layer of every crystal, (C,) uint8; 0 is the front one."""
        per_layer = self.rings * self.columns
        layers = np.repeat(np.arange(self.layers, dtype=np.uint8), per_layer)
        return np.tile(layers, self.heads)

    def in_reach(self, crystals: np.ndarray) -> np.ndarray:
        """Return which lines between `crystals` (N, 2) keep to the maximal ring difference, (N,) bool."""
        ring = crystals // self.columns % self.rings
        return abs(ring[:, 0].astype(np.int64) - ring[:, 1]) <= self.max_ring_difference

    def neighbours_first(self, crystals: np.ndarray) -> np.ndarray:
        """Return the order (N,) in which lines between `crystals` (N, 2) follow one another closely.

        Sorted by heads, then crystals: successive lines cross the same voxels, which then are in the
        processor's cache (a random order takes about twice as long to project).
        """
        a, b = crystals[:, 0].astype(np.uint64), crystals[:, 1].astype(np.uint64)
        heads = (a // self.crystals_per_head) * self.heads + b // self.crystals_per_head
        return np.argsort((heads * self.crystals + a) * self.crystals + b)

    def __hash__(self) -> int:  # arrays are not hashable; scanners are few and made once
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@cache
def _positions(scanner: Scanner) -> np.ndarray:
    columns = (np.arange(scanner.columns) - (scanner.columns - 1) / 2) * scanner.pitch_mm
    rings = (np.arange(scanner.rings) - (scanner.rings - 1) / 2) * scanner.ring_pitch_mm
    radii = scanner.face_radius_mm + scanner.interaction_depths_mm
    shape = (scanner.heads, scanner.layers, scanner.rings, scanner.columns, 3)
    positions = np.zeros(shape)
    positions += radii[None, :, None, None, None] * scanner.head_normals[:, None, None, None, :]
    positions += columns[None, None, None, :, None] * scanner.head_tangents[:, None, None, None, :]
    positions[..., 2] += rings[None, None, :, None]
    return positions.reshape(-1, 3).astype(np.float32)


@cache
def hrrt() -> Scanner:
    """Return the Siemens HRRT: an octagon of 8 heads, two layers of 104 × 72 crystals each.

    Head k faces (sin 45°k, cos 45°k); a head coincides with the five heads opposite to it. Mean
    pitch 2.4375 mm (crystals of 2.2 mm, gaps, block gaps); the loss in the gaps is part of the
    crystal efficiencies. 119,808 crystals, 4.486e9 lines. Source: the HRRT users' geometry.
    """
    angles = np.arange(8) * np.pi / 4
    normals = np.stack([np.sin(angles), np.cos(angles), np.zeros(8)], axis=1)
    pairs = [(a, b) for a in range(8) for b in range(a + 1, 8) if min(b - a, a - b + 8) >= 2]
    return Scanner(
        name="HRRT",
        head_normals=normals,
        head_pairs=np.array(pairs),
        face_radius_mm=234.5,
        columns=72,
        rings=104,
        layers=2,
        pitch_mm=2.4375,
        ring_pitch_mm=2.4375,
        max_ring_difference=103,  # 67 is the limit of the vendor's sinograms
        layer_mm=10.0,
    )


@cache
def mmr() -> Scanner:
    """Return the Siemens Biograph mMR's PET: 56 flat heads, each 64 rings of 8 crystals, 20 mm deep.

    Heads are the blocks around the ring; along the axis eight blocks join without a gap. Head k faces
    (sin α, cos α) with α = 2π (k + 1/2) / 56, and coincides with those at least 10 heads away. Crystals are
    numbered along RAS+ axes (`listmode.mmr_bins` leads there from the sinogram's). 28,672 crystals. Sources:
    a file's header (rings, radius, maximal ring difference), NiftyPET (blocks of 32.09 mm).
    """
    heads = mmr_bins.BLOCKS
    angles = (np.arange(heads) + 0.5) * 2 * np.pi / heads
    normals = np.stack([np.sin(angles), np.cos(angles), np.zeros(heads)], axis=1)
    apart = mmr_bins.MIN_BLOCKS_APART
    pairs = [(a, b) for a in range(heads) for b in range(a + apart, heads) if a - b + heads >= apart]
    return Scanner(
        name="Siemens Biograph mMR",
        head_normals=normals,
        head_pairs=np.array(pairs),
        face_radius_mm=328.0,
        columns=mmr_bins.COLUMNS,
        rings=mmr_bins.RINGS,
        layers=1,
        pitch_mm=32.09 / 8,
        ring_pitch_mm=4.0625,
        max_ring_difference=mmr_bins.MAX_RING_DIFFERENCE,
        layer_mm=20.0,
        energy_window_keV=(430.0, 610.0),
        energy_fwhm=0.145,
    )


SCANNERS = {"hrrt": hrrt, "siemens biograph mmr": mmr}


def scanner_of(name: str) -> Scanner:
    """Return the scanner of that name (any case).

    Raises InputError for a scanner whose geometry is not known.
    """
    if name.lower() not in SCANNERS:
        known = ", ".join(scanner().name for scanner in SCANNERS.values())
        raise InputError(f"scanner {name!r} is not known; choose one of {known}")
    return SCANNERS[name.lower()]()

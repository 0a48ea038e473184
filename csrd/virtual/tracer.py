"""Tracer uptake in a virtual head: by region, with variation between subjects and PET-only spots."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from csrd.errors import InputError
from csrd.io.tables import Row, read_tsv
from csrd.io.volume import Volume
from csrd.seeds import generator
from csrd.virtual.anatomy import Anatomy
from csrd.virtual.regions import REGIONS

COLUMNS = ["region", "label", "suv", "sd"]
EXAMPLE = "config/tracers/DASB.tsv"
FACTS = {"half_life_s": None, "branching": 1.0, "global_sd": 0.0}  # None: required in the file

EDGE_VOXELS = 0.5  # σ of the antialiasing: tissue borders cross voxels
TEXTURE_SD, TEXTURE_MM = 0.04, 8.0  # slow variation inside a region
LIMIT_SD = 2.5  # largest deviation of a subject from the table, in standard deviations

SPOTS = (3, 6)
SPOT_RADIUS_MM = (4.0, 7.0)
HOT, COLD = (1.4, 1.8), (0.4, 0.7)


@dataclass(frozen=True)
class Tracer:
    """A tracer: name, physical half-life in s, branching fraction, relative standard deviation of all uptake
    between subjects, and by region the mean SUV (g/mL, decay-corrected to injection) and its relative sd."""

    name: str
    half_life_s: float
    branching: float
    global_sd: float
    suv: dict[str, float]
    sd: dict[str, float]


@dataclass(frozen=True)
class Spot:
    """A sphere in the brain, in scanner mm, in which uptake is `contrast` times its surroundings'."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    contrast: float


def read_tracer(path: str | Path) -> Tracer:
    """Return the tracer that a table describes: comments `# key: value`, then region, label, suv, sd by tabs.

    Raises InputError for a missing file, wrong columns, an unknown, repeated or missing region, a bad number.
    """
    path = Path(path)
    table = read_tsv(path, EXAMPLE)
    if table.columns != COLUMNS:
        raise InputError(f"{path} has the columns {table.columns}; give {COLUMNS}, separated by tabs")
    suv, sd = _uptake(path, [row for _, row in table.rows])
    facts = {key: _fact(path, table.notes, key, default) for key, default in FACTS.items()}
    return Tracer(table.notes.get("tracer", path.stem), suv=suv, sd=sd, **facts)


def _uptake(path: Path, rows: list[Row]) -> tuple[dict[str, float], dict[str, float]]:
    """Return mean SUV and its relative standard deviation, each by region."""
    suv, sd = {}, {}
    for row in rows:
        region, label = row["region"], row["label"]
        if region not in REGIONS:
            raise InputError(f"{path} names the unknown region {region!r}; use {', '.join(REGIONS)}")
        if label != str(REGIONS[region]):
            raise InputError(f"{path} gives {region} the label {label}; it is {REGIONS[region]}")
        if region in suv:
            raise InputError(f"{path} names the region {region} twice; keep one row")
        suv[region], sd[region] = _number(path, region, row["suv"]), _number(path, region, row["sd"])
    missing = [region for region in REGIONS if region not in suv]
    if missing:
        raise InputError(f"{path} lacks the regions {', '.join(missing)}; add a row for each")
    return suv, sd


def _fact(path: Path, noted: dict[str, str], key: str, default: float | None) -> float:
    """Return a number from the comments."""
    if key not in noted:
        if default is None:
            raise InputError(f"{path} does not state {key}; add a line like `# {key}: 1224`")
        return default
    value = _number(path, key, noted[key])
    if key == "half_life_s" and value == 0:
        raise InputError(f"{path} gives {key} the value 0; write the half-life in seconds")
    return value


def _number(path: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value >= 0):
        raise InputError(f"{path} gives {name} the value {text!r}; write a number that is not negative")
    return value


def activity(
    anatomy: Anatomy,
    tracer: Tracer,
    seed: int,
    subject: str,
    injected_MBq: float,
    weight_kg: float,
    start_s: float,
) -> tuple[Volume, list[Spot]]:
    """Return the activity in Bq/mL at the scan's start, `start_s` after injection, and its PET-only spots.

    Bq/mL = SUV · injected activity / weight · 2^(-start / half-life), with 1 g/mL of tissue.
    """
    rng = generator(seed, "activity", subject)
    labels = anatomy.labels.array
    suv = subject_suv(rng, tracer)[labels] * _texture(rng, anatomy.labels)
    suv = ndimage.gaussian_filter(suv.astype(np.float32), EDGE_VOXELS)
    suv[labels == 0] = 0  # nothing is in the air, whose neighbours the smoothing reached
    spots = draw_spots(rng, anatomy)
    for spot in spots:
        apply_spot(suv, anatomy.labels.affine, spot)
    per_suv = injected_MBq * 1e6 / (weight_kg * 1e3) * 0.5 ** (start_s / tracer.half_life_s)
    return anatomy.labels.like(suv * np.float32(per_suv), "Bq/mL"), spots


def subject_suv(rng: np.random.Generator, tracer: Tracer) -> np.ndarray:
    """Return one subject's SUV by label, (22,); 0 for air. Means over subjects are the table's."""
    table = np.zeros(max(REGIONS.values()) + 1)
    everywhere = 1 + tracer.global_sd * _bounded_normal(rng)
    for region, label in REGIONS.items():
        own = 1 + tracer.sd[region] * _bounded_normal(rng)
        table[label] = max(0.0, tracer.suv[region] * everywhere * own)
    return table


def _bounded_normal(rng: np.random.Generator) -> float:
    return float(np.clip(rng.standard_normal(), -LIMIT_SD, LIMIT_SD))


def _texture(rng: np.random.Generator, grid: Volume) -> np.ndarray:
    """Return smooth factors around 1 (X, Y, Z), drawn every 4 mm whatever the voxel size."""
    edges = np.array(grid.shape) * grid.voxel_mm
    noise = rng.standard_normal(tuple(int(edge // 4) + 3 for edge in edges))
    noise = ndimage.gaussian_filter(noise, TEXTURE_MM / 4, mode="wrap")
    factors = 1 + TEXTURE_SD / noise.std() * noise
    return ndimage.affine_transform(factors, np.diag(grid.voxel_mm / 4), output_shape=grid.shape, order=1)


def draw_spots(rng: np.random.Generator, anatomy: Anatomy) -> list[Spot]:
    """Return 3 to 6 spots in brain tissue, hot and cold in turn, that do not touch each other."""
    labels = anatomy.labels.array
    tissue = (labels > 0) & (labels < REGIONS["csf"])
    deep = ndimage.distance_transform_edt(anatomy.brain.array, anatomy.labels.voxel_mm) > SPOT_RADIUS_MM[1]
    places = np.argwhere(tissue & deep)
    spots: list[Spot] = []
    for n in range(rng.integers(SPOTS[0], SPOTS[1] + 1)):
        contrast, radius = rng.uniform(*(HOT, COLD)[n % 2]), rng.uniform(*SPOT_RADIUS_MM)
        centre = free_place(rng, places, anatomy.labels.affine, radius, spots)
        x, y, z = (float(c) for c in centre)
        spots.append(Spot((x, y, z), float(radius), float(contrast)))
    return spots


def free_place(
    rng: np.random.Generator, places: np.ndarray, affine: np.ndarray, radius: float, spots: list[Spot]
) -> np.ndarray:
    """Return the centre in mm of a random voxel of `places` (N, 3), clear of the spots before it."""
    while True:
        centre = affine[:3, :3] @ places[rng.integers(len(places))] + affine[:3, 3]
        gaps = [np.linalg.norm(centre - s.centre_mm) - radius - s.radius_mm for s in spots]
        if min(gaps, default=np.inf) > 2.0:
            return centre


def apply_spot(uptake: np.ndarray, affine: np.ndarray, spot: Spot) -> None:
    """Multiply `uptake` (X, Y, Z) in place by the spot's contrast, in part where its surface crosses."""
    voxel = float(affine[0, 0])
    middle = (np.array(spot.centre_mm) - affine[:3, 3]) / voxel
    reach = spot.radius_mm / voxel + 1
    low = np.maximum(np.floor(middle - reach).astype(int), 0)
    high = np.minimum(np.ceil(middle + reach).astype(int) + 1, uptake.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    index = np.ogrid[box]
    distance = voxel * np.sqrt(sum((i - m) ** 2 for i, m in zip(index, middle, strict=True)))
    inside = np.clip((spot.radius_mm - distance) / voxel + 0.5, 0, 1)
    uptake[box] *= 1 + (spot.contrast - 1) * inside

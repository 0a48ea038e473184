"""Tracer uptake in a virtual head: by region, with variation between and inside subjects and spots."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from csrd.errors import InputError
from csrd.io.tables import Row, read_tsv
from csrd.io.volume import Volume
from csrd.seeds import generator
from csrd.virtual.anatomy import Anatomy
from csrd.virtual.kinetics import PER_MIN, Kinetics, feng
from csrd.virtual.regions import REGIONS
from csrd.virtual.spots import Spot, any_spots, apply_spot, fixed_spots
from csrd.virtual.variation import SIDES_SD, bounded_normal, by_side, parcels, texture

COLUMNS = ["region", "label", "suv", "sd"]
KINETIC_COLUMNS = ["bp", "r1"]  # of a tracer whose scans can be dynamic
KINETIC_FACTS = ("reference", "k2prime_per_min", "input_per_min")
INPUT_PARAMETERS = 6
EXAMPLE = "config/tracers/DASB.tsv"
FACTS = {"half_life_s": None, "branching": 1.0, "global_sd": 0.0}  # None: required in the file

EDGE_VOXELS = 0.5  # σ of the antialiasing: tissue borders cross voxels


@dataclass(frozen=True)
class Tracer:
    """A tracer: name, physical half-life in s, branching fraction, relative standard deviation of all uptake
    between subjects, and by region the mean SUV (g/mL, decay-corrected to injection) and its relative sd.

    `kinetics` are those of dynamic scans, None where the table has none.
    """

    name: str
    half_life_s: float
    branching: float
    global_sd: float
    suv: dict[str, float]
    sd: dict[str, float]
    kinetics: Kinetics | None = None


def read_tracer(path: str | Path) -> Tracer:
    """Return the tracer that a table describes: comments `# key: value`, then region, label, suv, sd by tabs.

    For dynamic scans the columns bp and r1 follow, and the comments have `KINETIC_FACTS`.
    Raises InputError for a missing file, wrong columns, an unknown, repeated or missing region, a bad number.
    """
    path = Path(path)
    table = read_tsv(path, EXAMPLE)
    if table.columns not in (COLUMNS, COLUMNS + KINETIC_COLUMNS):
        raise InputError(
            f"{path} has the columns {table.columns}; give {COLUMNS}, and for dynamic scans "
            f"{KINETIC_COLUMNS}, separated by tabs"
        )
    rows = [row for _, row in table.rows]
    suv, sd = _uptake(path, rows)
    facts = {key: _fact(path, table.notes, key, default) for key, default in FACTS.items()}
    kinetics = _kinetics(path, table.notes, rows, suv) if KINETIC_COLUMNS[0] in table.columns else None
    return Tracer(table.notes.get("tracer", path.stem), suv=suv, sd=sd, kinetics=kinetics, **facts)


def _kinetics(path: Path, noted: dict[str, str], rows: list[Row], suv: dict[str, float]) -> Kinetics:
    """Return the kinetics in the columns and comments for dynamic scans."""
    if missing := [key for key in KINETIC_FACTS if key not in noted]:
        raise InputError(f"{path} has the column bp, but does not state {missing[0]}; see {EXAMPLE}")
    reference = noted["reference"]
    if reference not in REGIONS:
        raise InputError(f"{path} gives reference the value {reference!r}; use {', '.join(REGIONS)}")
    texts = noted["input_per_min"].split()
    if len(texts) != INPUT_PARAMETERS:
        raise InputError(f"{path} gives input_per_min {len(texts)} numbers; write A1 A2 A3 l1 l2 l3")
    parameters = tuple(_number(path, "input_per_min", text, positive=True) for text in texts)
    bp = {row["region"]: _number(path, f"bp of {row['region']}", row["bp"], above=-1.0) for row in rows}
    r1 = {row["region"]: _number(path, f"r1 of {row['region']}", row["r1"], positive=True) for row in rows}
    if bp[reference] != 0 or r1[reference] != 1:
        raise InputError(
            f"{path} gives the reference {reference} another bp than 0 or r1 than 1; correct them"
        )
    k2_reference = _number(path, "k2prime_per_min", noted["k2prime_per_min"], positive=True) * PER_MIN
    return Kinetics(feng(parameters), reference, suv[reference], k2_reference, bp, r1)


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


def _number(path: Path, name: str, text: str, positive: bool = False, above: float | None = None) -> float:
    """Return a number that is not negative, or `positive`, or `above` a limit."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    allowed = value > above if above is not None else value > 0 if positive else value >= 0
    if not (np.isfinite(value) and allowed):
        kind = f"above {above:g}" if above is not None else "above 0" if positive else "that is not negative"
        raise InputError(f"{path} gives {name} the value {text!r}; write a number {kind}")
    return value


def activity(
    anatomy: Anatomy,
    tracer: Tracer,
    seed: int,
    subject: str,
    injected_MBq: float,
    weight_kg: float,
    start_s: float,
    tested: bool = False,
) -> tuple[Volume, list[Spot]]:
    """Return the activity in Bq/mL at the scan's start, `start_s` after injection, and its PET-only spots.

    Bq/mL = SUV · injected activity / weight · 2^(-start / half-life), with 1 g/mL of tissue. A `tested`
    subject has the spots of the test set too.
    """
    rng, labels = generator(seed, "activity", subject), anatomy.labels
    table = subject_suv(rng, tracer)
    left, right = (table * (1 + SIDES_SD * bounded_normal(rng, len(table))) for _ in range(2))
    suv = by_side(left, right, labels) * parcels(rng, labels) * texture(rng, labels)
    suv = ndimage.gaussian_filter(suv.clip(0).astype(np.float32), EDGE_VOXELS)
    suv[labels.array == 0] = 0  # nothing is in the air, whose neighbours the smoothing reached
    spots = any_spots(rng, anatomy)
    if tested:
        spots += fixed_spots(generator(seed, "test set", subject), anatomy, spots)
    for spot in spots:
        apply_spot(suv, labels.affine, spot)
    per_suv = injected_MBq * 1e6 / (weight_kg * 1e3) * 0.5 ** (start_s / tracer.half_life_s)
    return labels.like(suv * np.float32(per_suv), "Bq/mL"), spots


def subject_suv(rng: np.random.Generator, tracer: Tracer) -> np.ndarray:
    """Return one subject's SUV by label, (22,); 0 for air. Means over subjects are the table's."""
    table = np.zeros(max(REGIONS.values()) + 1)
    everywhere = 1 + tracer.global_sd * float(bounded_normal(rng))
    for region, label in REGIONS.items():
        own = 1 + tracer.sd[region] * float(bounded_normal(rng))
        table[label] = max(0.0, tracer.suv[region] * everywhere * own)
    return table

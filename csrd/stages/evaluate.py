"""Evaluation of one subject's images against its normal dose, as tables, and their merging."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from csrd.config.sections import Metrics
from csrd.errors import InputError, naming
from csrd.extras import require
from csrd.io.bids import inherited
from csrd.io.files import read_json
from csrd.io.tables import KEYS, read_csv, write_csv, write_records, write_rows
from csrd.io.volume import Volume, refuse_other_grid
from csrd.metrics.coverage import COVERAGE_KEYS, LEVELS, covered
from csrd.metrics.evaluate import Bound
from csrd.metrics.metric import Metric
from csrd.units import KBQ_PER_BQ, suv_per_bq_ml

Scale = tuple[float, str]  # the factor from Bq/mL, and the unit it leads to


def evaluate(
    images: Sequence[str | Path],
    reference: str | Path,
    mask: str | Path,
    *,
    tables: Sequence[str | Path],
    methods: Sequence[str],
    drfs: Sequence[int | None],
    metrics: Metrics,
    subject: str,
    lows: Sequence[str | Path] | None = None,
    facts: str | Path | None = None,
    in_suv: bool = True,
) -> list[dict]:
    """Return a row for each method and dose, ``subject,drf,method`` and metrics; write a table a method.

    `images` are those of the first method at all `drfs`, then of the next method, …; one that is given for
    several doses is compared once. `lows` are the low doses, which only the protocol `released` needs. All
    methods share the reference's features. MAE is in kBq/mL, or, `in_suv`, in SUV, where the JSON file
    `facts` has `weight_kg` and `activity_MBq`, that at the time the images are decay-corrected to. Without
    `tables` no file is written.
    Raises InputError where an image cannot be compared; then no file is written.
    """
    require("metrics", "evaluating images")
    person = read_json(facts) if facts and in_suv else {}
    scale = _scale(person.get("weight_kg"), person.get("activity_MBq"))
    pet = _load(reference, scale)
    bound = Bound(pet, on_grid(mask, pet, reference, unit="mask").array > 0, metrics)
    files = dict(zip(product(methods, drfs), images, strict=True))
    rows: dict[str, list[dict]] = {method: [] for method in methods}
    known: dict[tuple[str, int | None], dict[str, float]] = {}
    low_of_each: Sequence[str | Path | None] = lows or [None] * len(drfs)
    for drf, untouched in sorted(zip(drfs, low_of_each, strict=True)):
        found = bound.metrics(_load(untouched, scale) if bound.per_dose and untouched else None)
        for method in methods:
            image = str(files[method, drf]), drf if bound.per_dose else None
            if image not in known:
                known[image] = _values(found, files[method, drf], scale)
            rows[method].append({"subject": subject, "drf": drf, "method": method, **known[image]})
    for method, table in zip(methods, tables, strict=bool(tables)):
        write_records(rows[method], table)
    return [row for found in rows.values() for row in found]


def coverage(
    images: Sequence[str | Path],
    stds: Sequence[str | Path],
    normal: str | Path,
    mask: str | Path,
    table: str | Path,
    *,
    drfs: Sequence[int],
    subject: str,
    method: str,
    truth: str | Path | None = None,
) -> None:
    """Write ``subject,drf,method,target,level,coverage``: a row per dose, target and level of `LEVELS`.

    Targets are the `normal` dose, whose grid all others share, and the `truth`, the noise-free activity there
    (`csrd.stages.regions.match_truth`). `images` and their predicted standard deviations `stds` are in the
    order of `drfs`; the number of samples is read from the sidecar. Only voxels of the head `mask` count.
    Raises InputError where a file is not on the grid of the normal dose, or a sidecar has no `Samples`.
    """
    pet = Volume.load(normal)
    inside = on_grid(mask, pet, normal, unit="mask").array > 0
    targets = {"normal": normal, **({"truth": truth} if truth else {})}
    wanted = {target: on_grid(path, pet, normal).array[inside] for target, path in targets.items()}
    rows = []
    for drf, *files in sorted(zip(drfs, images, stds, strict=True)):
        image, std = (on_grid(file, pet, normal).array[inside] for file in files)
        samples = _samples(files[1])
        for target, values in wanted.items():
            fractions = covered(values - image, std, samples, LEVELS)
            row = subject, drf, method, target
            rows += [(*row, level, fraction) for level, fraction in zip(LEVELS, fractions, strict=True)]
    write_rows(rows, [*COVERAGE_KEYS[len(KEYS) :], "coverage"], table)


def merge(tables: Iterable[str | Path], table: str | Path, row: Sequence[str] = KEYS) -> None:
    """Write the rows of several tables as one, ordered by subject, method and dose.

    `row` are the columns that identify a row, those of `evaluate` first.
    Raises InputError where a row is in two tables.
    """
    import pandas as pd

    merged = pd.concat([read_csv(path) for path in tables], ignore_index=True)
    if (double := merged.duplicated(list(row))).any():
        subject, drf, method = merged.loc[double, KEYS].iloc[0]
        raise InputError(f"{subject} at 1/{drf} by {method} is in two tables; give each table once")
    order = ["subject", "method", "drf", *row[len(KEYS) :]]
    write_csv(merged.sort_values(order, ignore_index=True), table)


def on_grid(path: str | Path, grid: Volume, name: str | Path, unit: str | None = None) -> Volume:
    """Return the image in a file; raises InputError where it is not on the grid of the image `name`."""
    volume = Volume.load(path, unit)
    refuse_other_grid(volume, grid, path, name, "align both, or take the file made from it")
    return volume


def _scale(weight_kg: float | None, activity_MBq: float | None) -> Scale:  # noqa: N803
    if weight_kg is None or activity_MBq is None:
        return KBQ_PER_BQ, "kBq/mL"
    return suv_per_bq_ml(weight_kg, activity_MBq), "SUV"


def _load(path: str | Path, scale: Scale) -> Volume:
    """Return a PET image in the unit of the table; one in SUV is taken as it is."""
    volume = Volume.load(path)
    factor, unit = scale
    return volume if volume.unit == "SUV" else volume.like(volume.array * np.float32(factor), unit)


def _values(metrics: Mapping[str, Metric], path: str | Path, scale: Scale) -> dict[str, float]:
    image = _load(path, scale)
    with naming(path):
        return {key: metric(image) for key, metric in metrics.items()}


def _samples(path: str | Path) -> int:
    """Return the number of samples behind a standard deviation."""
    samples = inherited(path).get("Samples")
    if not isinstance(samples, int) or samples < 1:
        raise InputError(f"the sidecar of {path} has no Samples; run the denoise stage again")
    return samples

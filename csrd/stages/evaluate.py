"""Evaluation of one subject's images against its normal dose, as tables, and their merging."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from csrd.config.sections import Metrics
from csrd.errors import InputError, naming
from csrd.io.bids import inherited
from csrd.io.tables import KEYS, read_csv, write_csv, write_rows
from csrd.io.volume import Volume
from csrd.metrics.coverage import COVERAGE_KEYS, LEVELS, covered
from csrd.metrics.evaluate import Bound
from csrd.metrics.metric import Metric
from csrd.units import KBQ_PER_BQ, suv_per_bq_ml

Scale = tuple[float, str]  # the factor from Bq/mL, and the unit it leads to


def evaluate(
    reference: str | Path,
    mask: str | Path,
    images: Mapping[str, Mapping[int | None, str | Path]],
    outs: Mapping[str, str | Path],
    settings: Metrics,
    *,
    subject: str,
    lows: Mapping[int | None, str | Path] | None = None,
    weight_kg: float | None = None,
    activity_MBq: float | None = None,  # noqa: N803
) -> list[dict]:
    """Return a row for each method and dose, ``subject,drf,method`` and metrics; write a table a method.

    `images` are the methods' files by dose, `outs` the methods' tables; `lows` are the low-dose files, which
    only the protocol `released` needs. All methods share the reference's features. MAE is in kBq/mL, or in
    SUV where the body's weight and the activity (at the time the images are decay-corrected to) are given.
    Raises InputError where an image cannot be compared; then no file is written.
    """
    scale = _scale(weight_kg, activity_MBq)
    pet = _load(reference, scale)
    bound = Bound(pet, on_grid(mask, pet, reference, unit="mask").array > 0, settings)
    rows: dict[str, list[dict]] = {method: [] for method in images}
    for drf in sorted({drf for files in images.values() for drf in files}, key=lambda drf: drf or 0):
        low = _load(lows[drf], scale) if bound.per_dose and lows else None
        metrics = bound.metrics(low)
        for method, files in images.items():
            if drf in files:
                values = _values(metrics, files[drf], scale)
                rows[method].append({"subject": subject, "drf": drf, "method": method, **values})
    for method, out in outs.items():
        write_csv(pd.DataFrame(rows[method]), out)
    return [row for table in rows.values() for row in table]


def coverage(
    targets: Mapping[str, str | Path],
    mask: str | Path,
    images: Mapping[int, str | Path],
    stds: Mapping[int, str | Path],
    out: str | Path,
    *,
    subject: str,
    method: str,
) -> None:
    """Write ``subject,drf,method,target,level,coverage``: a row per dose, target and level of `LEVELS`.

    `targets` has the file "normal", whose grid all others share, and maybe "truth", the noise-free activity
    there (`csrd.stages.regions.match_truth`). `images` and their predicted standard deviations `stds` are
    files by dose; the number of samples is read from the sidecar. Only voxels of the head `mask` count.
    Raises InputError where a file is not on the grid of the normal dose, or a sidecar has no `Samples`.
    """
    name = targets["normal"]
    normal = Volume.load(name)
    inside = on_grid(mask, normal, name, unit="mask").array > 0
    wanted = {target: on_grid(path, normal, name).array[inside] for target, path in targets.items()}
    rows = []
    for drf, path in sorted(images.items()):
        image, std = (on_grid(file, normal, name).array[inside] for file in (path, stds[drf]))
        samples = _samples(stds[drf])
        for target, values in wanted.items():
            fractions = covered(values - image, std, samples, LEVELS)
            row = subject, drf, method, target
            rows += [(*row, level, fraction) for level, fraction in zip(LEVELS, fractions, strict=True)]
    write_rows(rows, [*COVERAGE_KEYS[len(KEYS) :], "coverage"], out)


def merge(tables: Iterable[str | Path], out: str | Path, keys: Sequence[str] = KEYS) -> None:
    """Write the rows of several tables as one, ordered by subject, method and dose.

    `keys` are the columns that name a row, those of `evaluate` first.
    Raises InputError where a row is in two tables.
    """
    merged = pd.concat([read_csv(path) for path in tables], ignore_index=True)
    if (double := merged.duplicated(list(keys))).any():
        subject, drf, method = merged.loc[double, KEYS].iloc[0]
        raise InputError(f"{subject} at 1/{drf} by {method} is in two tables; give each table once")
    order = ["subject", "method", "drf", *keys[len(KEYS) :]]
    write_csv(merged.sort_values(order, ignore_index=True), out)


def on_grid(path: str | Path, grid: Volume, name: str | Path, unit: str | None = None) -> Volume:
    """Return the image in a file; raises InputError where it is not on the grid of the image `name`."""
    volume = Volume.load(path, unit)
    if not volume.same_grid(grid):
        raise InputError(f"{path} is not on the grid of {name}; align both, or take the file made from it")
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

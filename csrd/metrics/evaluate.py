"""The evaluate stage: every method's images of one subject against the normal dose; all tables as one."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.io.files import whole_file
from csrd.io.volume import Volume
from csrd.metrics import PROTOCOLS
from csrd.metrics.metric import Metric, Reference
from csrd.units import suv_per_bq_ml

KEYS = ["subject", "drf", "method"]
KBQ_PER_BQ = 1e-3


def evaluate(
    reference: str | Path,
    mask: str | Path,
    images: Mapping[str, Mapping[int, str | Path]],
    outs: Mapping[str, str | Path],
    settings: Metrics,
    *,
    subject: str,
    lows: Mapping[int, str | Path] | None = None,
    weight_kg: float | None = None,
    activity_MBq: float | None = None,  # noqa: N803
) -> None:
    """Write each method's table into its file of `outs`: a row a dose, ``subject,drf,method`` and metrics.

    `images` are the methods' files by dose; `lows` the low-dose files, which only the protocol `released`
    asks for. All methods share the reference's features. MAE is in kBq/mL, or in SUV where the body's weight
    and the activity (at the time the images are decay-corrected to) are both given.
    Raises InputError where an image cannot be compared; then no file is written.
    """
    scale = _scale(weight_kg, activity_MBq)
    pet, head = _load(reference, scale), Volume.load(mask, unit="mask")
    if not head.same_grid(pet):
        raise InputError(f"{mask} is not on the grid of {reference}; take the mask made from this reference")
    bound = Bound(pet, head.array > 0, settings)
    rows = {method: [] for method in outs}
    for drf in sorted({drf for files in images.values() for drf in files}):
        low = _load(lows[drf], scale) if bound.per_dose and lows else None
        metrics = bound.metrics(low)
        for method in outs:
            values = _values(metrics, images[method][drf], scale)
            rows[method].append({"subject": subject, "drf": drf, "method": method, **values})
    for method, out in outs.items():
        write_csv(pd.DataFrame(rows[method]), out)


class Bound:
    """One reference's metrics; its features are computed once, or once a dose by the protocol `released`."""

    def __init__(self, reference: Volume, mask: np.ndarray, settings: Metrics) -> None:
        self.reference, self.mask, self.settings = reference, mask, settings
        self.per_dose = settings.protocol == "released"
        self._same: dict[str, Metric] = {}

    def metrics(self, low: Volume | None = None) -> dict[str, Metric]:
        """Return every metric, ready for images of the dose whose untouched image is `low`."""
        if self.per_dose or not self._same:
            self._same = metrics_of(self.reference, self.mask, self.settings, low)
        return self._same


def metrics_of(
    reference: Volume, mask: np.ndarray, settings: Metrics, low: Volume | None = None
) -> dict[str, Metric]:
    """Return the metrics of the protocol, ready for images on the grid of `reference`.

    LPIPS is among them where the settings ask for it.
    Raises InputError where the reference or a network's weights cannot be used.
    """
    bound, kinds = Reference(reference, mask, low), PROTOCOLS[settings.protocol]
    return {key: kind(bound, settings) for key, kind in kinds.items() if key != "lpips" or settings.lpips}


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


def read_csv(path: str | Path) -> pd.DataFrame:
    """Return a metrics table, subjects as text.

    Raises InputError where it is missing or lacks the columns that name a row.
    """
    try:
        table = pd.read_csv(path, dtype={"subject": str, "method": str})
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; run the evaluate stage first") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise InputError(f"{path} is no table ({error}); write it anew") from None
    if missing := [key for key in KEYS if key not in table]:
        raise InputError(f"{path} lacks the column {missing[0]}; write it anew")
    return table


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table with seven significant digits, which float32 images carry."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.7g")


def _scale(weight_kg: float | None, activity_MBq: float | None) -> tuple[float, str]:  # noqa: N803
    """Return the factor from Bq/mL and the unit it leads to."""
    if weight_kg is None or activity_MBq is None:
        return KBQ_PER_BQ, "kBq/mL"
    return suv_per_bq_ml(weight_kg, activity_MBq), "SUV"


def _load(path: str | Path, scale: tuple[float, str]) -> Volume:
    """Return a PET image in the unit of the table; one in SUV is taken as it is."""
    volume = Volume.load(path)
    factor, unit = scale
    return volume if volume.unit == "SUV" else volume.like(volume.array * np.float32(factor), unit)


def _values(metrics: dict[str, Metric], path: str | Path, scale: tuple[float, str]) -> dict[str, float]:
    image = _load(path, scale)
    try:
        return {key: metric(image) for key, metric in metrics.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None

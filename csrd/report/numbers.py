"""The three numbers of the report's first screen: gain in PSNR, recovery of lesions, bias of regions."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from csrd.methods import label_of
from csrd.report.lesions import recoveries
from csrd.report.regions import regions_table
from csrd.report.statistics import AGAINST

LOW = "lowdose"


@dataclass(frozen=True)
class Number:
    """A number with its unit, and what it is."""

    value: str
    what: str


def numbers(
    table: pd.DataFrame, lesions: pd.DataFrame | None = None, regions: pd.DataFrame | None = None
) -> list[Number]:
    """Return the numbers of `table1` without its controls, and of merged rows of `lesions` and `regions`.

    They are of CSR-D, or where it is not among the methods, of the method with the best PSNR.
    """
    means = table.set_index("method").get("psnr_mean")
    if means is None:
        return []
    others = means.drop(LOW, errors="ignore")
    if others.empty:
        return []
    method = AGAINST if AGAINST in others.index else str(others.idxmax())
    found = []
    if {method, LOW} <= set(means.index):
        gain = _signed(means[method] - means[LOW], 1)
        found.append(
            Number(f"{gain} dB", f"PSNR of {label_of(method)} over the low dose, mean over all doses")
        )
    if lesions is not None:
        found += _recovered(recoveries(lesions), method)
    if regions is not None:
        found += _bias(regions_table(regions), method)
    return found


def _recovered(table: pd.DataFrame, method: str) -> list[Number]:
    """Return what a method leaves of the contrast of hot lesions."""
    rows = table[(table["method"] == method) & (table["size"] == "lesion") & (table["kind"] == "hot")]
    if rows.empty:
        return []
    left, error = (round(100 * rows.iloc[0][name]) for name in ("recovery", "error"))
    what = f"of the contrast of hot lesions that the MR does not show is left in {label_of(method)}"
    return [Number(f"{left} ± {error} %".replace("-", "−"), what)]


def _bias(table: pd.DataFrame, method: str) -> list[Number]:
    """Return the bias against the truth of the region that is farthest off."""
    rows = table[(table["method"] == method) & (table["target"] == "truth")]
    biases = rows.set_index("region")["bias"].dropna()
    if biases.empty:
        return []
    worst = str(biases.abs().idxmax())
    rms = 100 * float(np.sqrt(np.mean(np.square(biases))))
    what = f"bias of {worst.replace('_', ' ')}, the region farthest off (rms over regions: {rms:.1f} %)"
    return [Number(f"{_signed(100 * biases[worst], 1)} %", what)]


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")

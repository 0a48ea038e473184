"""The three numbers of the first screen, from tables whose values are known."""

import numpy as np
import pandas as pd
import pytest

from csrd.report.numbers import numbers

TABLE = pd.DataFrame({"method": ["lowdose", "tv", "csrd"], "psnr_mean": [25.0, 31.0, 30.5]})


@pytest.fixture
def regions() -> pd.DataFrame:
    """CSR-D: white matter 5 % too low, the raphe 12 % too low."""
    columns = ["subject", "drf", "method", "target", "region", "voxels", "mean", "max"]
    columns += ["target_mean", "target_max"]
    rows = [
        ("sub-07", 4, "csrd", "truth", "white_matter", 9, 9.5, 1.0, 10.0, 1.0),
        ("sub-07", 4, "csrd", "truth", "raphe", 9, 8.8, 1.0, 10.0, 1.0),
        ("sub-07", 4, "csrd", "normal", "raphe", 9, 1.0, 1.0, 10.0, 1.0),
        ("sub-07", 4, "tv", "truth", "raphe", 9, 1.0, 1.0, 10.0, 1.0),
    ]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def lesions() -> pd.DataFrame:
    """A third and a half of two hot spots left, and none of a cold one."""
    rows = [(n, "lesion", "hot", share) for n, share in ((1, 1 / 3), (2, 1 / 2))] + [
        (3, "lesion", "cold", 0.0)
    ]
    found = pd.DataFrame(rows, columns=["spot", "size", "kind", "recovery"])
    return found.assign(subject="sub-07", drf=4, method="csrd")


def test_the_numbers_by_hand(regions, lesions):
    gain, left, bias = numbers(TABLE, lesions, regions)
    assert (gain.value, left.value, bias.value) == ("+5.5 dB", "42 ± 8 %", "−12.0 %")
    assert "raphe" in bias.what and f"{np.sqrt((5**2 + 12**2) / 2):.1f} %" in bias.what


def test_without_csrd_they_are_of_the_best_method():
    (gain,) = numbers(TABLE[TABLE["method"] != "csrd"])
    assert gain.value == "+6.0 dB" and "TV" in gain.what


def test_without_another_method_than_the_low_dose_there_are_none():
    assert numbers(pd.DataFrame({"method": ["lowdose"], "psnr_mean": [25.0]})) == []


def test_without_psnr_there_are_none():
    assert numbers(TABLE.drop(columns="psnr_mean")) == []

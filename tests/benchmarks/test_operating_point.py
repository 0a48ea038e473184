"""The rule by which an operating point is chosen, and what is put back into an image."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csrd.io.volume import Volume, centred_affine

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(FOLDER))
    try:
        import operating_point

        yield operating_point
    finally:
        sys.path.remove(str(FOLDER))


def rows(script, **points) -> pd.DataFrame:
    """Return rows of one method, two pairs each: PSNR a dB about the mean, and P_dist."""
    return pd.DataFrame(
        [
            {
                **{key: 0.0 for key in script.CRITERIA},
                **{"method": "unet", "subject": "sub-01", "drf": drf, "kind": kind, "parameter": ""},
                **{"psnr": psnr + by, "p_dist": p_dist},
            }
            for kind, (psnr, p_dist) in points.items()
            for drf, by in ((4, 1.0), (8, -1.0))
        ]
    )


def test_the_nearest_in_p_dist_within_the_cost_is_chosen(script):
    table = rows(script, image=(31.0, 80.0), near=(30.95, 70.0), far=(30.85, 40.0))
    means = script.curve(table)
    assert means.set_index("kind")["psnr"].to_dict() == pytest.approx(
        {"image": 31.0, "near": 30.95, "far": 30.85}
    )
    assert means.loc[means["chosen"], "kind"].tolist() == ["near"]


def test_each_method_has_a_point_of_its_own(script):
    one = rows(script, image=(31.0, 80.0))
    other = rows(script, image=(29.0, 90.0), sample=(28.0, 50.0)).assign(method="csrd")
    means = script.curve(pd.concat([one, other]))
    assert means.loc[means["chosen"], ["method", "kind"]].values.tolist() == [
        ["unet", "image"],
        ["csrd", "image"],
    ]


def test_what_is_put_back_is_a_fraction_of_the_removed(script):
    low = Volume(np.full((2, 2, 2), 5.0, np.float32), centred_affine((2, 2, 2), 2.0), "Bq/mL")
    image = low.like(np.full((2, 2, 2), 3.0, np.float32))
    assert (script.put_back(image, low, 0.25).array == 3.5).all()
    assert (script.put_back(image, low, 0.0).array == image.array).all()

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from csrd.errors import InputError
from csrd.report.figures import Panel, compare, comparison
from csrd.report.report import flat, report
from csrd.volume import Volume, centred_affine

SHAPE = (30, 36, 32)


def blob(scale=1.0, voxel=3.0, shape=SHAPE) -> Volume:
    affine = centred_affine(shape, voxel)
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3] + affine[:3, 3]
    array = 3e4 * scale * np.exp(-np.sum((points / (25, 32, 28)) ** 2, axis=-1))
    return Volume(array.astype(np.float32), affine, "Bq/mL")


@pytest.fixture
def mask() -> np.ndarray:
    return blob().array > 2e3


def test_a_figure_of_every_image(tmp_path, mask):
    files = {}
    for name, volume in (("ref", blob()), ("low", blob(1.1)), ("tv", blob(0.9)), ("mr", blob(2.0))):
        files[name] = tmp_path / f"{name}.nii.gz"
        volume.save(files[name])
    blob(1.0, voxel=1.5, shape=(60, 72, 64)).save(tmp_path / "truth.nii.gz")  # another grid, as simulated
    blob().like(mask, "mask").save(tmp_path / "mask.nii.gz")
    comparison(
        tmp_path / "figure.png",
        files["ref"],
        tmp_path / "mask.nii.gz",
        lows={4: files["low"], 10: files["low"]},
        denoised={"tv": {10: files["tv"]}},
        drf=10,
        mr=files["mr"],
        truth=tmp_path / "truth.nii.gz",
    )
    picture = imread(tmp_path / "figure.png")
    assert picture.shape[1] == 13 * 130 and picture[..., :3].std() > 0.1


def test_pet_shares_one_scale(tmp_path, mask):
    # Twice the uptake must look darker: panels are not scaled one by one.
    compare(tmp_path / "a.png", [Panel("one", blob(0.25)), Panel("two", blob(0.5))], blob(), mask)
    picture = imread(tmp_path / "a.png")[150:, 60:-130, 0]  # without titles, row names and colour bar
    left, right = np.array_split(picture, 2, axis=1)
    assert left.min() > right.min() + 0.15


def test_a_panel_on_another_grid_is_refused(tmp_path, mask):
    with pytest.raises(InputError, match="'two' is not on the reference's grid"):
        compare(tmp_path / "a.png", [Panel("two", blob(voxel=2.0))], blob(), mask)


def test_the_page_stands_alone(tmp_path):
    rows = [
        (subject, drf, method, 1.0 + 0.1 * drf, 30.0, 0.9)
        for subject in ("sub-07", "sub-08")
        for drf in (4, 10)
        for method in ("lowdose", "tv")
    ]
    frame = pd.DataFrame(rows, columns=["subject", "drf", "method", "mae", "psnr", "ssim"])
    frame.to_csv(tmp_path / "metrics.csv", index=False)
    compare(tmp_path / "f.png", [Panel("normal dose", blob())], blob(), blob().array > 2e3)
    report(
        tmp_path / "report.html",
        tmp_path / "metrics.csv",
        title="A <test> cohort",
        methods=["lowdose", "tv"],
        test_subjects=["sub-07", "sub-08"],
        drfs=[4, 10],
        train_drfs=[4],
        simulated=True,
        figures={"One figure.": tmp_path / "f.png"},
        registrations={"sub-07": tmp_path / "f.png"},
        settings={"seed": 2024, "recon": {"subsets": 16, "psf": {}}},
    )
    text = (tmp_path / "report.html").read_text()
    assert text.startswith("<!doctype html>") and "A &lt;test&gt; cohort" in text
    assert text.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:|#)', text) and "@import" not in text and "url(" not in text
    for part in ("Table 1", "unseen in fitting", "recon.subsets", "41.11 ± 4.97", "Scatter is not simulated"):
        assert part in text
    for target in re.findall(r'href="#(\w+)"', text):
        assert f'id="{target}"' in text


def test_settings_are_flattened():
    found = dict(flat({"a": {"b": {"c": 1}}, "drfs": [4, 6], "sheet": None}))
    assert found == {"a.b.c": "1", "drfs": "4, 6", "sheet": "none"}

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread, imsave

from csrd.config import load
from csrd.errors import InputError
from csrd.io.tables import read_benchmarks
from csrd.io.volume import Volume, centred_affine
from csrd.metrics.coverage import COVERAGE_KEYS, LEVELS
from csrd.report.figures import Panel, compare, comparison, errors, uncertainty
from csrd.report.html import picture
from csrd.report.report import Pictures, Results, flat, report
from csrd.report.table import Scope

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
    truth = blob(1.0, voxel=1.5, shape=(60, 72, 64))  # another grid, as simulated
    mr = blob().like(blob(2.0).array, "arbitrary")
    lows, denoised = {4: blob(1.1), 10: blob(1.1)}, {"tv": blob(0.9)}
    panels = comparison(blob(), lows, denoised, 10, mr=mr, truth=truth)
    compare(tmp_path / "figure.png", panels, blob(), mask)
    picture = imread(tmp_path / "figure.png")
    assert picture.shape[1] == 13 * 130 and picture[..., :3].std() > 0.1


def test_pet_shares_one_scale(tmp_path, mask):
    # Twice the uptake must look darker: panels are not scaled one by one.
    compare(tmp_path / "a.png", [Panel("one", blob(0.25)), Panel("two", blob(0.5))], blob(), mask)
    picture = imread(tmp_path / "a.png")[150:, 60:-130, 0]  # without titles, row names and colour bar
    left, right = np.array_split(picture, 2, axis=1)
    assert left.min() > right.min() + 0.15


def test_a_panel_on_another_grid_is_refused(tmp_path, mask):
    with pytest.raises(InputError, match="two is not on the grid of the reference"):
        compare(tmp_path / "a.png", [Panel("two", blob(voxel=2.0))], blob(), mask)


def test_errors_are_blue_below_and_red_above(tmp_path, mask):
    images = {"csrd": blob(1.1), "tv": blob(0.9)}
    errors(tmp_path / "e.png", blob(), mask, images, drf=10)
    picture = imread(tmp_path / "e.png")[..., :3]
    cell = 3 * 130  # three columns as wide as columns may be, then the colour bar
    lower = picture[picture.shape[0] // 2 :, : 39 + 3 * cell]
    red, blue = ((lower[..., i] - lower[..., 2 - i] > 0.4).nonzero()[1] for i in (0, 2))
    start = 39
    assert start + cell < blue.min() < blue.max() < start + 2 * cell  # TV stands before CSR-D
    assert start + 2 * cell < np.percentile(red, 5)


def test_standard_deviation_and_error_share_a_scale(tmp_path, mask):
    normal = blob()
    images = {"csrd": normal.like(normal.array + np.float32(1e3) * mask)}
    stds = {"csrd": normal.like(np.full(SHAPE, 1e3, np.float32))}
    uncertainty(tmp_path / "u.png", normal, mask, images, stds, drf=10)
    cells = imread(tmp_path / "u.png")[150:, 39 : 39 + 2 * 390, :3]
    left, right = np.array_split(cells, 2, axis=1)
    assert left[180, 195] == pytest.approx(right[180, 195], abs=0.02)  # 1 kBq/mL looks alike in both
    with pytest.raises(InputError, match="is not on the grid of the normal dose"):
        uncertainty(tmp_path / "u.png", normal, mask, images, {"csrd": blob(voxel=2.0)}, drf=10)


def page_of(methods, pictures, **more) -> str:
    rows = [
        (subject, drf, method, 1.0 + 0.1 * drf, 30.0, 0.9)
        for subject in ("sub-07", "sub-08")
        for drf in (4, 10)
        for method in methods
    ]
    frame = pd.DataFrame(rows, columns=["subject", "drf", "method", "mae", "psnr", "ssim"])
    given = {"drfs": [4, 10], "train_drfs": [4], "methods": methods, "report": {"title": "A <test> cohort"}}
    scope = Scope(methods, ["sub-07", "sub-08"], [4, 10], [4], simulated=True)
    text = report(Results(frame, **more), pictures, load(given), scope)
    for target in re.findall(r'href="#(\w+)"', text):
        assert f'id="{target}"' in text
    assert not re.search(r'(src|href)="(?!data:|#)', text) and "@import" not in text and "url(" not in text
    return text


def test_the_page_stands_alone(tmp_path):
    compare(tmp_path / "f.png", [Panel("normal dose", blob())], blob(), blob().array > 2e3)
    subject = {"sub-07": tmp_path / "f.png"}
    text = page_of(["lowdose", "tv"], Pictures(comparison=subject, registration=subject))
    assert text.startswith("<!doctype html>") and "A &lt;test&gt; cohort" in text
    assert text.count('src="data:image/') == 2
    for part in ("Table 1", "unseen in fitting", "recon.subsets", "41.11 ± 4.97", "Scatter is not simulated"):
        assert part in text
    assert text.index('class="summary"') < text.index('id="table1"')
    assert "csrdnomr.patch" not in text, "a method that is not in use"
    for absent in ("statistics", "uncertainty", "training", "times"):
        assert f'id="{absent}"' not in text


def test_the_page_with_everything(tmp_path):
    compare(tmp_path / "f.png", [Panel("normal dose", blob())], blob(), blob().array > 2e3)
    one, each = tmp_path / "f.png", {"sub-07": tmp_path / "f.png", "sub-08": tmp_path / "f.png"}
    levels = [("sub-07", 10, "csrd", "normal", level, 0.5) for level in LEVELS]
    (tmp_path / "times").mkdir()
    (tmp_path / "times" / "align.tsv").write_text("s\tmax_rss\tcpu_time\n75\t10\t60\n")
    text = page_of(
        ["lowdose", "csrd"],
        Pictures(each, each, each, each, dose_quality=one, training=one, reliability=one),
        coverage=pd.DataFrame(levels, columns=[*COVERAGE_KEYS, "coverage"]),
        jobs=read_benchmarks(tmp_path / "times"),
    )
    assert text.count('src="data:image/') == 4 * 2 + 3
    parts = (
        "summary",
        "table1",
        "doses",
        "statistics",
        "errors",
        "uncertainty",
        "training",
        "times",
        "settings",
    )
    places = [text.index(f'"{part}"') if part == "summary" else text.index(f'id="{part}"') for part in parts]
    assert places == sorted(places)
    for part in ("the test has no power", "its standard deviation is too small", "1 min 15 s"):
        assert part in text


def test_lesions_and_control_rows_are_on_the_first_screen():
    about = itertools.product(("sub-07", "sub-08"), (("normal", 1), ("lowdose", 4), ("csrd", 4)))
    spots = [(subject, drf, method, "spot 1", "hot", "lesion", 0.5) for subject, (method, drf) in about]
    lesions = pd.DataFrame(spots, columns=["subject", "drf", "method", "spot", "kind", "size", "recovery"])
    false = lesions[["subject", "drf", "method"]].assign(false_spots=7)
    truth = [
        (subject, drf, method, psnr)
        for subject, drf in itertools.product(("sub-07", "sub-08"), (4, 10))
        for method, psnr in (("lowdose", 20.0), ("csrd", 30.0), ("painted", 26.0), ("normal", 28.0))
    ]
    truth = pd.DataFrame(truth, columns=["subject", "drf", "method", "psnr"])
    text = page_of(["lowdose", "csrd"], Pictures({}), lesions=lesions, false=false, truth=truth)
    first = text[: text.index('id="table1"')]
    assert "contrast of hot lesions" in first and "False spots in an image: 7.0 in the low dose" in first
    assert "+4.0 dB at 1/4" in first and text.index('id="lesions"') < text.index('id="truth"')
    assert text.count('<tr class="control">') == 3, (
        "the normal dose in Table 1; it and painted against the truth"
    )


def test_pictures_that_are_large_are_made_small(tmp_path):
    noise = np.random.default_rng(0).random((600, 800))
    imsave(tmp_path / "noise.png", noise, cmap="gray")
    imsave(tmp_path / "plain.png", np.zeros((600, 800)), cmap="gray")
    address = picture(tmp_path / "noise.png")
    assert address.startswith("data:image/jpeg;base64,")
    assert len(address) < 0.8 * (tmp_path / "noise.png").stat().st_size
    assert picture(tmp_path / "plain.png").startswith("data:image/png;base64,")
    with pytest.raises(InputError, match="make the picture again"):
        picture(tmp_path / "absent.png")


def test_settings_are_flattened():
    found = dict(flat({"a": {"b": {"c": 1}}, "drfs": [4, 6], "sheet": None}))
    assert found == {"a.b.c": "1", "drfs": "4, 6", "sheet": "none"}

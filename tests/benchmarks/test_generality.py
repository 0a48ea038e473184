"""The yardstick's own parts: scans that are kept, spots that are planted, figures that are written."""

import runpy
import shlex
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from csrd.errors import InputError
from csrd.io.files import write_json
from csrd.io.volume import Volume, centred_affine
from csrd.virtual.anatomy import Anatomy
from csrd.virtual.regions import REGIONS
from csrd.virtual.spots import Spot, apply_spot, lesions
from csrd.virtual.variation import smooth_field
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "benchmarks" / "generality"
sys.path.insert(0, str(FOLDER))  # as python does for a folder that it runs

import columns  # noqa: E402
import limits  # noqa: E402
import page  # noqa: E402
import rows  # noqa: E402
import scans  # noqa: E402
import uptake  # noqa: E402

TESTED = [row for row in rows.ROWS if not row.validation]
SHAPE = (40, 48, 40)
AFFINE = centred_affine(SHAPE, 4.0)


def ball(radius_mm: float) -> np.ndarray:
    at = np.moveaxis(np.indices(SHAPE), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    return np.linalg.norm(at, axis=-1) < radius_mm


@pytest.fixture
def scan() -> scans.Scan:
    """A noisy ball of grey matter in which one half is twice as bright as the other."""
    rng = np.random.default_rng(0)
    labels = (ball(70) * REGIONS["frontal"]).astype(np.uint8)
    labels[20:][ball(70)[20:]] = REGIONS["parietal"]
    sharp = np.where(labels == REGIONS["parietal"], 8.0, 4.0) * (labels > 0)
    bare = ndimage.gaussian_filter(sharp, 1.0)
    spot = Spot((8.0, 4.0, -4.0), 6.0, 1.5)
    apply_spot(sharp, AFFINE, spot)
    truth = ndimage.gaussian_filter(sharp, 1.0)
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.6)
    low = (truth * (1 + noise)).clip(0)
    images = {"truth": truth, "bare": bare, "normal": truth * (1 + 0.3 * noise), "low": low}
    volumes = {name: Volume(array.astype(np.float32), AFFINE, "kBq/mL") for name, array in images.items()}
    mr = Volume(labels.astype(np.float32), AFFINE, "arbitrary")
    facts = {"name": "a", "drf": 4}
    return scans.Scan(**volumes, mr=mr, mask=labels > 0, labels=labels, spots=[spot], facts=facts)


def test_one_factor_changes_at_a_time():
    names = [row.name for row in rows.ROWS]
    assert len(set(names)) == len(names) and len(TESTED) >= 25
    for row in TESTED:
        differing = {
            field
            for field in ("subject", "tracer", "scanner", "drf", "filter_mm", "voxel_mm", "mr", "shift_mm")
            if getattr(row, field) != getattr(rows.REFERENCE, field)
        }
        factor = {"tracer": {"tracer", "drf"}, "person": {"subject", "tracer", "drf"}}.get(row.factor)
        assert differing <= factor if factor else len(differing) == (row.factor != "reference"), row.name
    validation = {row.subject for row in rows.ROWS if row.validation}
    assert validation and not validation & {row.subject for row in TESTED}


def test_a_kept_scan_is_read_back(scan, tmp_path):
    scan.save(tmp_path / "scan.npz")
    back = scans.Scan.load(tmp_path / "scan.npz")
    for name in ("low", "normal", "truth", "bare", "mr"):
        np.testing.assert_allclose(getattr(back, name).array, getattr(scan, name).array, rtol=1e-3, atol=1e-3)
        assert getattr(back, name).same_grid(scan.low)
    assert back.spots == scan.spots and back.facts == scan.facts
    assert (back.labels == scan.labels).all() and (back.mask == scan.mask).all()
    replace(scan, mr=None).save(tmp_path / "bare.npz")
    assert scans.Scan.load(tmp_path / "bare.npz").mr is None


def test_spots_lie_in_their_tissue_and_have_cold_twins():
    labels = (ball(70) * REGIONS["frontal"]).astype(np.uint8)
    labels[ball(45)] = REGIONS["white_matter"]
    grid = Volume(labels, AFFINE, "label")
    anatomy = Anatomy(grid, grid.like(ball(75), "mask"), grid, grid)
    spots = lesions(np.random.default_rng(3), anatomy, [])
    at = [labels[tuple(np.rint(np.linalg.solve(AFFINE, [*s.centre_mm, 1])[:3]).astype(int))] for s in spots]
    assert at == [REGIONS["frontal"]] * 8 + [REGIONS["white_matter"]] * 8
    for hot, cold in zip(spots[::2], spots[1::2], strict=True):
        assert 1.4 <= hot.contrast <= 1.8 and hot.contrast + cold.contrast == pytest.approx(2)
        assert hot.radius_mm == cold.radius_mm
    for n, one in enumerate(spots):
        for other in spots[:n]:
            gap = np.linalg.norm(np.subtract(one.centre_mm, other.centre_mm))
            assert gap > one.radius_mm + other.radius_mm


def test_smooth_fields_have_unit_variance_and_their_own_scale():
    grid = Volume(np.zeros((60, 60, 60), np.float32), centred_affine((60, 60, 60), 2.0))
    field = smooth_field(np.random.default_rng(0), grid, 8.0)
    assert field.std() == pytest.approx(1, rel=0.2)
    neighbours = np.corrcoef(field[:-8].ravel(), field[8:].ravel())[0, 1]  # 16 mm: exp(−(16 / 8)² / 4)
    assert neighbours == pytest.approx(np.exp(-1), abs=0.12)


def test_t2_turns_the_order_of_tissues_round():
    csf, grey, white = uptake.t2_like(np.array([0.28, 0.72, 1.0]))
    assert csf > grey > white > 0


def test_an_oracle_finds_the_best_strength(scan):
    made = columns.oracle(scan, columns.gaussian, columns.GAUSSIAN_MM)

    def error(image: np.ndarray) -> float:
        return float(np.mean(np.square(image - scan.truth.array)[scan.mask]))

    tried = [columns.gaussian(scan.low.array, scan, mm) for mm in np.linspace(0.1, 20, 60)]
    assert error(made.image.array) <= 1.01 * min(map(error, tried))


def test_total_variation_has_one_best_weight_and_does_not_depend_on_the_field_of_view(scan):
    weights = np.geomspace(0.02, 0.6, 8)
    box = (slice(4, 36), slice(4, 44), slice(4, 36))
    error, cut = [], []
    for weight in weights:
        image = columns.tv(scan.low.array, scan, weight)
        cut.append(np.abs(image[box] - columns.tv(scan.low.array[box], scan, weight))[4:-4, 4:-4, 4:-4].max())
        error.append(np.mean(np.square(image - scan.truth.array)[scan.mask]))
    steps = np.sign(np.diff(error))
    assert (np.diff(steps) >= 0).all() and steps[0] < 0 < steps[-1], "falling, then rising"
    assert max(cut) < 0.06 * scan.truth.array.max()


def test_figures_of_the_truth_itself_are_perfect(scan):
    found = columns.measured(scan, columns.Made(scan.truth, scan.truth, 10))
    assert found["psnr_truth"] == np.inf and found["false_spots"] == 0
    assert found["bias_truth"] == (0.0, 0.0) and found["coverage_truth"] == 1.0
    assert found["hot"][0] == 1.0


def test_regional_bias_is_of_means_of_regions_that_are_large_enough(scan):
    image = scan.truth.array * np.where(scan.labels == REGIONS["parietal"], 1.1, 0.95)
    labels = scan.labels.copy()
    labels[20, 20, 20:24] = REGIONS["caudate"]  # 0.26 mL
    biases = columns.regional_bias(image, scan.truth.array, labels, scan.truth.voxel_mm)
    assert set(biases) == {"frontal", "parietal"}
    assert biases["parietal"] == pytest.approx(0.1, abs=1e-4)
    assert biases["frontal"] == pytest.approx(-0.05, abs=1e-4)


def test_what_does_not_look_at_the_mr_is_made_once(scan, tmp_path):
    made = []

    def make(scan, _):
        made.append(scan)
        return columns.Made(scan.low)

    plain, with_mr = columns.Column("plain", make), columns.Column("mr", make, "x", uses_mr=True)
    moved = replace(scan, mr=scan.mr.like(np.roll(scan.mr.array, 1)))
    first = [columns.record(plain, s, False, tmp_path) for s in (scan, moved)]
    assert len(made) == 1 and first[0] == first[1]
    for s in (scan, moved, scan):
        columns.record(with_mr, s, False, tmp_path)
    assert len(made) == 3
    columns.record(replace(with_mr, identity="another model"), scan, False, tmp_path)
    assert len(made) == 4
    assert columns.record(with_mr, replace(scan, mr=None), False, tmp_path) is None


def test_a_model_is_measured_anew_when_its_weights_change(scan, tmp_path, monkeypatch):
    """The folder's name and the card stay; the column with MR is there for models that use one."""
    made = []

    def denoise(low, mr, *, model, drf, std, samples):
        made.append((model.name, mr is None))
        if mr is None and model.name == "needs_mr":
            raise InputError("csrd needs the MR; give it with --mr")
        return SimpleNamespace(image=low, std=None, facts={})

    monkeypatch.setattr(columns, "denoise", denoise)

    def fitted(name: str, key: str, weights: bytes):
        write_json(tmp_path / name / "model.json", {"method": key})
        (tmp_path / name / "weights.safetensors").write_bytes(weights)
        return columns.model_columns("m", tmp_path / name)

    def recorded(found) -> list[bool]:
        return [columns.record(c, scan, False, tmp_path / "records") is not None for c in found]

    assert recorded(fitted("needs_mr", "csrd", b"1")) == [True, False]
    assert recorded(fitted("no_mr", "csrdnomr", b"2")) == [True]
    assert recorded(fitted("both", "csrd", b"3")) == [True, True]
    assert made == [("needs_mr", False), ("needs_mr", True), ("no_mr", True), ("both", False), ("both", True)]
    recorded(fitted("both", "csrd", b"3"))
    assert len(made) == 5
    recorded(fitted("both", "csrd", b"4"))
    assert len(made) == 7
    pair = columns.model_columns("m", tmp_path / "needs_mr", tmp_path / "no_mr")
    assert [column.name for column in pair] == ["m with MR", "m without MR"] and all(recorded(pair))
    assert len(made) == 7, "both were measured under their own weights"


def figures(psnr: float, hot: float = 0.9, false: int = 0) -> dict:
    return {
        "psnr_truth": psnr,
        "psnr_normal": psnr,
        "bias_truth": (-0.02, 0.01),
        "hot": (hot, 0.1),
        "false_spots": false,
        "coverage_truth": 0.9,
    }


def recorded(**models: dict) -> dict:
    """Return records of all test rows in which every filter has 30 dB, and the models what is given."""
    others = {name: figures(30.0) for name in (page.INPUT, *page.ORACLES)} | {page.NORMAL: figures(40.0)}
    return {row.name: others | models for row in TESTED}


def test_limits_that_are_missed_are_bold():
    records = recorded(good=figures(33.5), bad=figures(29, 0.3, 2))
    models = [columns.Column(name, lambda *_: None, uses_mr=True, gives_std=True) for name in ("good", "bad")]
    lines = limits.limits(TESTED, records, models).splitlines()[2:]
    good, bad = zip(*(line.strip("| ").split(" | ")[3:] for line in lines), strict=True)
    assert not any("**" in cell for cell in good)
    assert [n for n, cell in enumerate(bad) if "**" in cell] == [0, 1, 2, 3, 6, 7]
    assert bad[0] == "**-1.0**" and bad[8] == "90"


def test_a_limit_is_missed_by_one_scan_but_for_a_misleading_mr():
    model = columns.Column("m", lambda *_: None, uses_mr=True, gives_std=True)
    for row, missed in (("voxel_2", True), ("mr_T2w", True), ("mr_other", False), ("mr_shift_4", False)):
        records = recorded(m=figures(33.5))
        records[row] = records[row] | {"m": figures(29.0)}
        assert ("**-1.0**" in limits.limits(TESTED, records, [model])) == missed, row


def test_models_without_mr_have_limits_of_their_own():
    records = recorded(m=figures(32.2))
    for uses_mr, missed in ((True, True), (False, False)):
        model = columns.Column("m", lambda *_: None, uses_mr=uses_mr, gives_std=True)
        line = limits.limits(TESTED, records, [model]).splitlines()[3]
        assert line.endswith("| **+2.2** |" if missed else "| +2.2 |")


def test_losses_come_first():
    some = TESTED[:3]
    records = recorded()
    for n, row in enumerate(some):
        records[row.name] = records[row.name] | {"m": figures(30.5 - n)}
    model = columns.Column("m", lambda *_: None, uses_mr=True)
    lines = page.gains(some, records, [model]).splitlines()[2:]
    cells = [line.strip("| ").split(" | ")[2] for line in lines]
    assert cells == ["**-1.5** / **-1.5**", "**-0.5** / **-0.5**", "+0.5 / +0.5"]


def test_images_that_do_not_change_with_the_mr_are_shown_once():
    some = [row for row in TESTED if row.name in ("reference", "mr_none", "mr_other")]
    records = recorded(with_mr=figures(31), without=figures(32))
    records["mr_none"] = records["mr_none"] | {"with_mr": None}
    models = [
        columns.Column("with_mr", lambda *_: None, uses_mr=True),
        columns.Column("without", lambda *_: None, gives_std=True),
        columns.Column("input", lambda *_: None),
    ]
    lines = page.table(some, records, models, page.psnr_cell("truth")).splitlines()[2:]
    assert [line.strip("| ").split(" | ")[2:] for line in lines] == [
        ["31.0", "32.0", "30.0"],
        ["–", "32.0", "–"],
        ["31.0", "–", "–"],
    ]


def test_only_marked_places_of_a_page_are_written(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- one -->\nold\n<!-- /one -->\nafter\n")
    for _ in range(2):
        page.write_places(path, {"one": "| new \\d |"})
    assert path.read_text() == "before\n<!-- one -->\n\n| new \\d |\n\n<!-- /one -->\nafter\n"


def test_the_commands_of_the_page_are_understood():
    text = (REPOSITORY / "docs" / "generality.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("python benchmarks/generality ")]
    parser = runpy.run_path(str(FOLDER))["parser"]()
    runs = {parser.parse_args(shlex.split(line, comments=True)[2:]).run.__name__ for line in lines}
    assert runs == {"make_scans", "make_table", "validate"}

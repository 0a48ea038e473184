"""Estimated scatter against the formula point by point, against followed photons, and in an image."""

import math
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from csrd.config import load
from csrd.config.sections import Recon
from csrd.errors import InputError
from csrd.io.scatter import read_scatter, write_scatter
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode, thin
from csrd.recon import scatter
from csrd.recon.embedded import estimated_scatter, reconstruct, some_prompts
from csrd.recon.sensitivity import random_lines
from csrd.scanner import compton
from csrd.scanner.geometry import hrrt, mmr
from csrd.seeds import seed_sequence
from csrd.stages.recon import estimate_scatter, image_of
from csrd.stages.scan import ScanFiles
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import SCATTERED
from csrd.virtual.decays import Decays
from csrd.virtual.scatter import ScatteredPairs
from tests.recon.conftest import ACTIVITY, RADIUS, SCAN, SETTINGS, uniform
from tests.recon.test_embedded import inside

CORRECTED = SETTINGS.model_copy(update={"scatter": "own"})


@dataclass(frozen=True)
class Scattered:
    path: Path
    counts: dict
    table: np.ndarray
    fraction: float
    arguments: tuple


@pytest.fixture(scope="module")
def scan(cylinder, tmp_path_factory) -> Scattered:
    """Return the cylinder's scan with scatter, and the scatter estimated from it."""
    path, kinds = tmp_path_factory.mktemp("scatter") / "sub-01_listmode.l64", []
    how = cylinder.efficiencies, hrrt(), replace(SCAN, duration_s=20, scatter=True), 1, "sub-01", 2
    counts = write_scan(path, cylinder.activity, uniform(0.096, "1/cm"), *how, kinds=kinds)
    assert np.count_nonzero(np.concatenate(kinds) == SCATTERED) == counts["scattered"]
    arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt()
    table, fraction = estimated_scatter(open_listmode(path), *arguments, SETTINGS, 1, 1, "sub-01")
    return Scattered(path, counts, table, fraction, arguments)


def test_the_sum_is_the_formula_point_by_point():
    """Σ_S μ V p w/2π G_a G_b [e^(−m_a − m_b r) ∫λ dl_a + e^(−m_a r − m_b) ∫λ dl_b] for one pair."""
    scanner, shape = hrrt(), (80, 80, 80)
    axis = np.arange(80) - 39.5
    ball = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 36**2
    mumap = Volume(ball * np.float32(0.096), centred_affine(shape, 1.0), "1/cm")
    activity = mumap.like(ball * np.float32(3.0))
    rings, columns = scatter.node_grid(scanner)
    table = scatter.scatter_table(activity, mumap, scanner, multiple=False)
    pair, a, b = 8, (0, 3, 1), (1, 5, 4)  # layer, ring, column of either end
    ends = []
    for head, (layer, row, place) in zip(scanner.head_pairs[pair], (a, b), strict=True):
        ends.append([])
        for radius in 234.5 + np.array(
            [scanner.interaction_depths_mm.mean(), scanner.interaction_depths_mm[layer]]
        ):
            at = radius * scanner.head_normals[head]
            at += (columns[place] - 35.5) * 2.4375 * scanner.head_tangents[head]
            ends[-1].append(at + np.array([0, 0, (rings[row] - 51.5) * 2.4375]))
        ends[-1] += [scanner.head_normals[head], layer]

    def within(point, way):  # length of the chord from a point in the ball outwards
        along = point @ way
        return -along + math.sqrt(along**2 + 36**2 - point @ point)

    points, weights = scatter.scatter_points(mumap)
    total = 0.0
    for point, weight in zip(points, weights, strict=True):
        chords, solid, ways = [], [], []
        for middle, at, normal, layer in ends:
            distance = np.linalg.norm(at - point)
            slant = (at - point) @ normal / distance
            survive = math.exp(-0.87 / slant)
            solid.append(2.4375**2 * slant / distance**2 * survive**layer * (1 - survive))
            way = (middle - point) / np.linalg.norm(middle - point)
            chords.append(within(point, way))
            ways.append(way)
        cosine = -ways[0] @ ways[1]
        energy = compton.scattered_energy(cosine)
        ratio = compton.cross_section(energy) / compton.cross_section(511.0)
        law = compton.klein_nishina(cosine) / compton.cross_section(511.0)
        law *= compton.window_table(scanner)[round(energy)]
        m_a, m_b = (0.0096 * chord for chord in chords)
        both = math.exp(-m_a - m_b * ratio) * 3 * chords[0] + math.exp(-m_a * ratio - m_b) * 3 * chords[1]
        total += weight / (2 * math.pi) * law * solid[0] * solid[1] * both
    # The engine integrates along lines through voxels of 1 mm, which leave the ball in steps
    assert table[(pair, *a, *b)] == pytest.approx(total, rel=0.015)
    assert weights.sum() == pytest.approx(0.0096 * ball.sum(), rel=1e-5)


@pytest.mark.parametrize("scanner", [hrrt(), mmr()], ids=["HRRT", "mMR"])
def test_tables_are_interpolated_linearly_and_refined_without_moving_their_points(scanner):
    rings, columns = scatter.node_grid(scanner)
    row, place = np.arange(len(rings)), np.arange(len(columns))
    end = scanner.layers, len(rings), len(columns)
    table = np.zeros((len(scanner.head_pairs), *end, *end), np.float32)
    table += 1 + row[:, None, None, None, None] + 2 * place[:, None, None, None]
    table += 3 * row[:, None] + 5 * place
    lines = random_lines(np.random.default_rng(0), 20_000, scanner)
    ring, column = lines // scanner.columns % scanner.rings, lines % scanner.columns
    at_row = ring / (scanner.rings - 1) * row[-1]
    at_place = column / (scanner.columns - 1) * place[-1]
    linear = 1 + at_row[:, 0] + 2 * at_place[:, 0] + 3 * at_row[:, 1] + 5 * at_place[:, 1]
    np.testing.assert_allclose(scatter.at_lines(table, lines, scanner), linear, rtol=1e-5)
    finer = scatter.finer(table)
    assert finer.shape == scatter.table_shape(scanner)
    np.testing.assert_allclose(scatter.at_lines(finer, lines, scanner), linear, rtol=1e-5)


@pytest.mark.parametrize("shape", [(20, 2, 8, 6, 2, 8, 6), (4, 1, 3, 1, 1, 3, 1)])
def test_splines_do_not_depend_on_the_processors_linear_algebra(shape):
    program = (
        "import sys, numpy as np; from csrd.recon.scatter import finer; "
        f"table = np.random.default_rng(1).random({shape}, np.float32); "
        "sys.stdout.buffer.write(finer(table).tobytes())"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"OPENBLAS_CORETYPE": name},
            capture_output=True,
            check=True,
        ).stdout
        for name in ("Nehalem", "Haswell", "SkylakeX")
    ]
    assert len(found[0]) > 100 and found[0] == found[1] == found[2]


CUDA_PROGRAM = """
import numpy as np
from csrd.recon import scatter_cuda, scatter_sums
draw = np.random.default_rng(0)
pairs, pair_of = np.array([[0, 1], [0, 2]]), np.array([[-1, 0, 1], [0, -1, -1], [1, -1, -1]])
way = draw.normal(size=(3, 9, 5))
way /= np.linalg.norm(way, axis=0)
weight, depth, source, points = (draw.random(n) for n in ((2, 9, 5), (9, 5), (9, 5), 5))
chance, extra = draw.random(64), draw.random(64) - 0.5
chance[:8] = 0
arrays = [a.astype(np.float32) for a in (way, weight, depth, source, points, chance, extra)]
table = draw.random((2, 2, 3, 3, 2, 3, 3), dtype=np.float32)
crystals = draw.integers(3 * 2 * 8 * 6, size=(200, 2)).astype(np.uint32)
for name, arguments in {
    "pair_sums": (pairs, 3, *arrays),
    "at_lines": (table, crystals, pair_of, 2, 8, 6),
}.items():
    cpu, gpu = (getattr(module, name)(*arguments) for module in (scatter_sums, scatter_cuda))
    assert np.count_nonzero(cpu) > cpu.size / 4, name
    np.testing.assert_allclose(gpu, cpu, rtol=1e-5, err_msg=name)
print("equal")
"""


def test_cuda_kernels_equal_the_cpu():
    """The CUDA kernels run in numba's simulator, so that the test needs no GPU."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    run = subprocess.run(
        [sys.executable, "-c", CUDA_PROGRAM], env=environment, capture_output=True, text=True
    )
    assert run.stdout.strip().endswith("equal"), run.stderr


def test_further_scatterings_are_recorded_less_often_through_a_narrower_window():
    wide, narrow = scatter.accepted_again(hrrt()), scatter.accepted_again(mmr())
    assert 0 < narrow[0] < wide[0] < wide[1] < 0.3 and narrow[1] < wide[1]
    assert 0.2 < narrow[2] < wide[2] < 0.5


@pytest.mark.parametrize("scanner", [hrrt(), mmr()], ids=["HRRT", "mMR"])
def test_the_tables_agree_with_followed_photons(cylinder, scanner):
    """Single scatter, and all of it, of the known activity: totals within 3 %, along the axis within 5 %."""
    efficiencies = np.ones(scanner.crystals, np.float32)
    decays = Decays.of(cylinder.activity, uniform(0.096, "1/cm"), efficiencies, scanner)
    seconds = 1.5e6 / decays.decays_per_s
    pairs, times = ScatteredPairs(decays).follow(seconds, seed_sequence(1, "table"), 1)
    core = np.broadcast_to(cylinder.mumap.array, cylinder.mumap.shape) * np.float32(ACTIVITY / 0.096 * 1e-3)
    activity = cylinder.mumap.like(core * np.float32(seconds))
    lines = random_lines(np.random.default_rng(0), 500_000, scanner)
    share = len(scanner.head_pairs) * scanner.crystals_per_head**2 / len(lines)

    def profile(crystals: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        middle = scanner.crystal_positions[crystals, 2].mean(1)
        return np.histogram(middle, np.linspace(-126, 126, 9), weights=weights)[0]

    for multiple, chosen in ((False, pairs[times == 1]), (True, pairs)):
        table = scatter.finer(scatter.scatter_table(activity, cylinder.mumap, scanner, multiple))
        values = scatter.expected(table, lines, efficiencies, scanner) * share
        assert values.sum(dtype=float) == pytest.approx(len(chosen), rel=0.03)
        followed = profile(chosen)
        assert abs(profile(lines, values) - followed).max() < 0.05 * followed.max()


def test_the_estimate_has_the_total_and_the_shape_of_the_simulated_scatter(scan):
    true = scan.counts["scattered"] / (scan.counts["scattered"] + scan.counts["trues"])
    assert scan.fraction == pytest.approx(true, rel=0.05)
    lines = random_lines(np.random.default_rng(0), 1_000_000, hrrt())
    values = scatter.expected(scan.table, lines, scan.arguments[1], hrrt())
    total = values.sum(dtype=float) * len(hrrt().head_pairs) * hrrt().crystals_per_head ** 2 / len(lines)
    assert total == pytest.approx(scan.counts["scattered"], rel=0.05)


def test_a_map_wider_than_the_image_has_the_same_scatter(scan):
    """As the one with coil and table, which are empty here."""
    mumap, *others = scan.arguments
    affine = mumap.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (4, 4, 0)
    wide = Volume(np.pad(mumap.array, ((4, 4), (4, 4), (0, 0))), affine, "1/cm")
    table, fraction = estimated_scatter(open_listmode(scan.path), wide, *others, SETTINGS, 1, 1, "sub-01")
    assert fraction == pytest.approx(scan.fraction, rel=1e-3)
    np.testing.assert_allclose(table, scan.table, rtol=0.01, atol=1e-3 * scan.table.max())


def test_the_corrected_cylinder_is_uniform_and_has_its_activity(cylinder, scan):
    """Mean within 2 %, shells within 2.5 %, no cold centre; uncorrected it is more than 10 % too high."""
    image, sidecar = reconstruct(open_listmode(scan.path), *scan.arguments, CORRECTED, 1, 1, "sub-01")
    plain, _ = reconstruct(open_listmode(scan.path), *scan.arguments, SETTINGS, 1, 1, "sub-01")
    core = inside(cylinder, 0, RADIUS - 12)
    assert image.array[core].mean() == pytest.approx(ACTIVITY, rel=0.02)
    assert plain.array[core].mean() > 1.1 * ACTIVITY
    edges = np.arange(0, RADIUS - 9, 8)
    shells = [image.array[inside(cylinder, *pair)].mean() for pair in zip(edges[:-1], edges[1:], strict=True)]
    np.testing.assert_allclose(np.array(shells) / ACTIVITY, 1, atol=0.025)
    assert "single-scatter simulation" in sidecar["ScatterCorrectionMethod"]
    assert sidecar["ScatterCorrectionMethod"].endswith("from this dose")


@pytest.mark.long
def test_a_low_dose_takes_a_part_of_the_normal_doses_scatter_or_its_own(cylinder, scan, tmp_path):
    thin(scan.path, tmp_path / "low.l64", drf=4, seed=1)
    listmode, core = open_listmode(tmp_path / "low.l64"), inside(cylinder, 0, RADIUS - 12)
    once = CORRECTED.model_copy(update={"scatter": "once"})
    given, sidecar = reconstruct(
        listmode, *scan.arguments, once, 4, 1, "sub-01", scatter_table=scan.table
    )  # fmt: skip
    own, _ = reconstruct(listmode, *scan.arguments, CORRECTED, 4, 1, "sub-01")
    assert sidecar["ScatterCorrectionMethod"].endswith("from the normal dose")
    assert given.array[core].mean() == pytest.approx(ACTIVITY, rel=0.025)
    assert own.array[core].mean() == pytest.approx(given.array[core].mean(), rel=0.01)
    table, fraction = estimated_scatter(listmode, *scan.arguments, once, 4, 1, "sub-01")
    assert fraction == pytest.approx(scan.fraction, rel=0.03)
    assert table.sum() == pytest.approx(scan.table.sum(), rel=0.03), "of the normal dose, whatever the dose"


def test_the_stage_writes_what_the_reconstruction_reads(cylinder, scan, tmp_path):
    cylinder.mumap.save(tmp_path / "mu.nii.gz")
    cylinder.sensitivity.save(tmp_path / "sensitivity.nii.gz")
    np.save(tmp_path / "efficiencies.npy", cylinder.efficiencies)
    settings = CORRECTED.model_copy(update={"scatter": "once", "iterations": 1})
    low = tmp_path / "sub-01_listmode.l64"
    thin(scan.path, low, drf=10, seed=1)
    inputs = {
        "mumap": tmp_path / "mu.nii.gz",
        "normalisation": tmp_path / "efficiencies.npy",
        "sensitivity": tmp_path / "sensitivity.nii.gz",
    }
    target, how = tmp_path / "scatter.npy", {"seed": 1, "subject": "sub-01", "threads": 1}
    found = estimate_scatter(low, target, recon=settings, **inputs, **how)
    assert found["scatter_fraction"] == pytest.approx(scan.fraction, rel=0.04)
    files = ScanFiles(low, **inputs, scatter=target)
    _, sidecar = image_of(files, settings, 10, **how, log=tmp_path / "log")
    assert sidecar["ScatterCorrectionMethod"].endswith("from the normal dose")
    none = settings.model_copy(update={"scatter": "none"})
    with pytest.raises(InputError, match=r"recon.scatter is none, but .*set it to once"):
        image_of(files, none, 10, **how, log=tmp_path / "log")
    _, sidecar = image_of(replace(files, scatter=None), none, 10, **how, log=tmp_path / "log")
    assert sidecar["ScatterCorrectionMethod"] == "none"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no array", "not a readable .npy array"),
        (np.zeros((2, 3), np.float32), r"float32 of shape \(2, 3\), not the float32"),
        (np.zeros((2, 2)), "float64 of shape"),
        (np.full((2, 2), -1, np.float32), "negative or not finite"),
    ],
)
def test_another_file_than_a_table_is_refused(tmp_path, content, message):
    path = tmp_path / "scatter.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_scatter(content, path)
    with pytest.raises(InputError, match=message):
        read_scatter(path, (2, 2), "HRRT")


def test_scatter_is_corrected_unless_none_is_simulated():
    assert Recon().estimates_scatter and load({}).acquisition.scatter and load({}).recon.scatter == "once"
    without = {"acquisition": {"scatter": False}}
    assert load(without).recon.scatter == "none" and not load(without).recon.estimates_scatter
    assert load(without | {"recon": {"scatter": None, "iterations": 3}}).recon.scatter == "none"
    assert load(without | {"recon": {"scatter": "own"}}).recon.scatter == "own"
    assert load({"recon": {"scatter": "none"}}).recon.scatter == "none"
    measured = without | {"cohort": {"sheet": "subjects.tsv"}}
    assert load(measured).recon.scatter == "once", "photons scatter in real subjects"
    assert load(load(without).model_dump(mode="json")) == load(without)


def test_a_body_that_hardly_attenuates_or_emits_has_no_scatter(cylinder, scan):
    prompts = some_prompts(open_listmode(scan.path), *scan.arguments[:2], hrrt(), 1)
    thin_air = cylinder.mumap.like(cylinder.mumap.array * np.float32(0.01))
    silent = replace(prompts, total_randoms=1e9)
    for mumap, events in ((thin_air, prompts), (cylinder.mumap, silent)):
        table, fraction = scatter.estimate(events, mumap, *scan.arguments[1:], 1, 1, "sub-01")
        assert table.shape == scatter.table_shape(hrrt()) and not table.any()
        assert fraction == 0 or events is silent

"""A uniform cylinder: quantitative, equal in the mean at every dose, free of structure."""

from dataclasses import replace

import numpy as np
import pytest

from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode, thin
from csrd.listmode.hrrt import write_hrrt
from csrd.recon.corrections import attenuation_factors, randoms_rates
from csrd.recon.embedded import detection, reconstruct
from csrd.recon.osem import projector_on, subsets_of
from csrd.recon.sensitivity import random_lines
from csrd.resample import resample
from csrd.scanner import projector, projector_cuda
from csrd.scanner.geometry import hrrt
from csrd.stages.simulate import write_scan
from tests.recon.conftest import ACTIVITY, RADIUS, SCAN, SETTINGS, VOXEL, uniform


def inside(cylinder, low: float, high: float) -> np.ndarray:
    radius = np.broadcast_to(cylinder.radius(), cylinder.sensitivity.shape)
    return (radius >= low) & (radius < high)


def test_mean_is_the_activity_in_becquerel_per_millilitre(cylinder):
    mean = cylinder.images[1].array[inside(cylinder, 0, RADIUS - 12)].mean()
    assert mean == pytest.approx(ACTIVITY, rel=0.02)
    assert cylinder.images[1].unit == "Bq/mL"


@pytest.mark.parametrize("drf", [4, 6, 8, 10])
def test_mean_does_not_depend_on_the_dose(cylinder, drf):
    core = inside(cylinder, 0, RADIUS - 12)
    assert cylinder.images[drf].array[core].mean() == pytest.approx(
        cylinder.images[1].array[core].mean(), rel=0.02
    )


def test_a_hot_rod_in_a_warm_cylinder_is_recovered(cylinder, tmp_path):
    """Four times the activity in a rod of 16 mm radius, off the axis: both levels come back."""
    hot, fine = 4.0, cylinder.activity
    axis = fine.affine[0, 3] + np.arange(fine.shape[0]) * fine.voxel_mm[0]
    rod = np.hypot(axis[:, None] - 20, axis[None, :]) < 16
    activity = fine.like(fine.array * np.where(rod, hot, 1)[:, :, None].astype(np.float32))
    scanner, path, scan = hrrt(), tmp_path / "rod.l64", replace(SCAN, duration_s=12)
    mu, efficiencies = uniform(0.096, "1/cm"), cylinder.efficiencies
    write_scan(path, activity, mu, efficiencies, scanner, scan, seed=2, subject="rod", threads=2)
    arguments = open_listmode(path), cylinder.mumap, efficiencies, cylinder.sensitivity, scanner, SETTINGS, 1
    image = reconstruct(*arguments, seed=1, subject="rod")[0].array
    axis = (np.arange(image.shape[0]) - (image.shape[0] - 1) / 2) * VOXEL
    apart = np.broadcast_to(np.hypot(axis[:, None] - 20, axis[None, :])[:, :, None], image.shape)
    assert image[inside(cylinder, 0, 99) & (apart < 10)].mean() == pytest.approx(hot * ACTIVITY, rel=0.03)
    warm = inside(cylinder, 0, RADIUS - 12) & (apart > 24)
    assert image[warm].mean() == pytest.approx(ACTIVITY, rel=0.03)


def test_noise_grows_as_the_dose_falls(cylinder):
    core = inside(cylinder, 0, RADIUS - 12)
    spread = [cylinder.images[drf].array[core].std() for drf in (1, 4, 10)]
    assert spread[0] < spread[1] < spread[2]


def test_no_rings_and_no_hot_axis(cylinder):
    edges = np.arange(0, RADIUS - 9, 8)
    shells = [
        cylinder.images[1].array[inside(cylinder, low, high)].mean()
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    np.testing.assert_allclose(np.array(shells) / ACTIVITY, 1, atol=0.025)


def test_no_axial_bands_and_no_checkerboard(cylinder):
    image, core = cylinder.images[1].array, inside(cylinder, 0, RADIUS - 12)
    slices = np.flatnonzero(core.any((0, 1)))
    profile = np.array([image[:, :, z][core[:, :, z]].mean() for z in slices]) / ACTIVITY
    in_fours = profile[: len(profile) // 4 * 4].reshape(-1, 4).mean(1)
    np.testing.assert_allclose(in_fours, 1, atol=0.025)
    assert abs(profile[::2].mean() - profile[1::2].mean()) < 0.015
    x, y = np.indices(image.shape[:2])
    odd = ((x + y) % 2 == 1)[:, :, None]
    assert image[core & odd].mean() == pytest.approx(image[core & ~odd].mean(), rel=0.015)


def test_randoms_are_subtracted(cylinder):
    """Outside the cylinder nothing is left of a quarter of the prompts."""
    outside = inside(cylinder, RADIUS + 8, 200)
    assert cylinder.images[1].array[outside].mean() < 0.03 * ACTIVITY


def test_random_rates_predict_the_delayeds(cylinder):
    """The rates' products, summed over all lines, give back the number of delayeds, head by head."""
    scanner, fans = hrrt(), np.zeros(hrrt().crystals)
    for block in open_listmode(cylinder.path).blocks():
        fans += np.bincount(block.crystals[~block.prompt].ravel(), minlength=scanner.crystals)
    heads = randoms_rates(fans, scanner, cylinder.efficiencies).reshape(8, -1).sum(1)
    expected = sum(heads[a] * heads[b] for a, b in scanner.head_pairs)
    assert expected == pytest.approx(cylinder.counts["delayeds"], rel=0.01)


def test_random_rates_recover_known_rates():
    """Delayeds drawn from known smooth rates times efficiencies: the error per crystal is a few per cent."""
    scanner, draw = hrrt(), np.random.default_rng(0)
    efficiencies = draw.uniform(0.3, 0.6, scanner.crystals)
    ring = np.arange(scanner.crystals) // scanner.columns % scanner.rings
    truth = efficiencies * (1 + 0.5 * np.sin(ring / 20)) * 4e-2
    heads = truth.reshape(8, -1).sum(1)
    partners = [sum(heads[[a + b - h for a, b in scanner.head_pairs if h in (a, b)]]) for h in range(8)]
    fans = draw.poisson(truth * np.repeat(partners, scanner.crystals_per_head))
    rates = randoms_rates(fans.astype(float), scanner, efficiencies)
    assert np.std(rates / truth - 1) < 0.05
    assert rates.sum() == pytest.approx(truth.sum(), rel=0.01)


def test_attenuation_of_a_water_cylinder():
    """exp(−μ·chord) for lines across the axis."""
    shape = (120, 120, 20)
    affine = centred_affine(shape, 1.0)
    x, y, _ = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij")
    water = Volume((np.hypot(x, y) < 50) * np.float32(0.096), affine, "1/cm")
    offsets = np.array([0.0, 20.0, 40.0, 55.0])
    starts = np.stack([offsets, np.full(4, -200.0), np.zeros(4)], 1)
    ends = starts * [1, -1, 1]
    chords = 2 * np.sqrt(np.maximum(50**2 - offsets**2, 0))
    np.testing.assert_allclose(attenuation_factors(water, starts, ends), np.exp(-0.0096 * chords), rtol=0.02)


def test_averaging_onto_a_coarser_grid_keeps_a_mumaps_integral():
    shape = (40, 40, 40)
    fine = Volume(np.random.default_rng(0).random(shape, dtype=np.float32), centred_affine(shape, 1.0))
    fine.array[[0, 1, -1, -2]] = fine.array[:, [0, 1, -1, -2]] = fine.array[:, :, [0, 1, -1, -2]] = 0
    coarse = resample(fine, Volume(np.zeros((22, 22, 22)), centred_affine((22, 22, 22), 2.0)))
    assert coarse.array.sum() * 8 == pytest.approx(fine.array.sum(), rel=0.01)


def test_known_scatter_is_accounted_for(cylinder, tmp_path):
    """Prompts added evenly over all lines raise the image, unless they are said to be scatter."""
    scanner, draw, added = hrrt(), np.random.default_rng(0), 1_000_000
    thin(cylinder.path, tmp_path / "thin.l64", drf=4, seed=1)
    blocks = list(open_listmode(tmp_path / "thin.l64").blocks())
    crystals = np.concatenate([block.crystals for block in blocks])
    prompt = np.concatenate([block.prompt for block in blocks])
    times = np.concatenate([block.time_ms for block in blocks])
    extra = random_lines(draw, added, scanner).astype(np.uint32)
    all_times = np.concatenate([times, draw.integers(0, 40_000, added).astype(np.uint32)])
    order = np.argsort(all_times, kind="stable")
    events = np.concatenate([crystals, extra])[order], np.append(prompt, np.ones(added, bool))[order]
    path = tmp_path / "scattered.l64"
    write_hrrt(path, [(*events, all_times[order])], dict(open_listmode(cylinder.path).header))
    lines = len(scanner.head_pairs) * scanner.crystals_per_head**2
    scatter = np.full(events[1].sum(), added / lines, np.float32)
    arguments = (
        open_listmode(path),
        cylinder.mumap,
        cylinder.efficiencies,
        cylinder.sensitivity,
        scanner,
        SETTINGS,
        4,
    )
    core = inside(cylinder, 0, RADIUS - 12)
    ignored, _ = reconstruct(*arguments, seed=1, subject="sub-01")
    corrected, sidecar = reconstruct(*arguments, seed=1, subject="sub-01", scatter=scatter)
    assert ignored.array[core].mean() > 1.03 * ACTIVITY
    assert corrected.array[core].mean() == pytest.approx(ACTIVITY, rel=0.02)
    assert sidecar["ScatterCorrectionMethod"] == "given"


def test_subsets_share_out_all_events():
    groups = subsets_of(10_007, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(groups)) == list(range(10_007))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    assert all((np.diff(group) > 0).all() for group in groups)
    assert np.corrcoef(groups[0], np.arange(len(groups[0])) * 16)[0, 1] > 0.99, "spread over all events"


def test_detection_multiplies_its_parts(cylinder):
    scanner = hrrt()
    lines = random_lines(np.random.default_rng(0), 100, scanner)
    half = cylinder.efficiencies / 2
    full, quarter = (
        detection(lines, cylinder.mumap, efficiencies, scanner)
        for efficiencies in (cylinder.efficiencies, half)
    )
    np.testing.assert_allclose(quarter, full / 4, rtol=1e-5)


def test_sidecar_says_how_the_image_was_made(cylinder):
    assert cylinder.sidecar["DoseReductionFactor"] == 10
    assert cylinder.sidecar["FrameDuration"] == [40]
    assert cylinder.sidecar["DeadTimeCorrectionFactor"] == 1 and "InputNotes" not in cylinder.sidecar
    assert cylinder.sidecar["Prompts"] == pytest.approx(cylinder.counts["prompts"] / 10, rel=0.01)


def test_without_a_resolution_model(cylinder):
    settings = SETTINGS.model_copy(update={"psf": None, "iterations": 1})
    arguments = (
        open_listmode(cylinder.path),
        cylinder.mumap,
        cylinder.efficiencies,
        cylinder.sensitivity,
        hrrt(),
    )
    image, sidecar = reconstruct(*arguments, settings, 1, seed=1, subject="sub-01")
    core = inside(cylinder, 0, RADIUS - 12)
    assert image.array[core].mean() == pytest.approx(ACTIVITY, rel=0.03)
    assert sidecar["PointSpreadModel"] == "none"


def test_a_header_that_contradicts_the_dose_is_refused(cylinder, tmp_path):
    thin(cylinder.path, tmp_path / "thin.l64", drf=100, seed=1)
    arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt(), SETTINGS
    with pytest.raises(InputError, match="thinned by 100, not 4"):
        reconstruct(open_listmode(tmp_path / "thin.l64"), *arguments, 4, seed=1, subject="sub-01")


@pytest.mark.parametrize("line", ["image duration := 0", "branching factor := none", "isotope halflife :="])
def test_a_header_without_timing_is_refused(cylinder, tmp_path, line):
    key = line.split(" :=")[0]
    (tmp_path / "a.l64").symlink_to(cylinder.path)
    header = (cylinder.path.parent / (cylinder.path.name + ".hdr")).read_text().splitlines()
    kept = [text for text in header if key not in text]
    (tmp_path / "a.l64.hdr").write_text("\n".join([*kept, line]) + "\n")
    arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt(), SETTINGS
    with pytest.raises(InputError, match=f"{key}.*give a positive number"):
        reconstruct(open_listmode(tmp_path / "a.l64"), *arguments, 1, seed=1, subject="sub-01")


def test_a_header_that_says_a_shorter_scan_does_not_scale_the_image(cylinder, tmp_path):
    """A quarter of the duration would make the image four times too high."""
    (tmp_path / "a.l64").symlink_to(cylinder.path)
    header = (cylinder.path.parent / (cylinder.path.name + ".hdr")).read_text()
    assert "image duration := 40" in header
    (tmp_path / "a.l64.hdr").write_text(header.replace("image duration := 40", "image duration := 10"))
    settings = SETTINGS.model_copy(update={"psf": None, "iterations": 1})
    arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt(), settings
    image, sidecar = reconstruct(open_listmode(tmp_path / "a.l64"), *arguments, 1, seed=1, subject="sub-01")
    assert image.array[inside(cylinder, 0, RADIUS - 12)].mean() == pytest.approx(ACTIVITY, rel=0.03)
    assert (
        sidecar["FrameDuration"] == [40]
        and "says 10 s, but its time tags cover 40 s" in sidecar["InputNotes"][0]
    )


def test_voxel_size_is_that_of_the_settings(cylinder):
    np.testing.assert_allclose(cylinder.images[1].voxel_mm, VOXEL)


def test_cuda_is_refused_where_there_is_none():
    if projector_cuda.available():
        assert projector_on("auto") is projector_cuda
        return
    assert projector_on("auto") is projector
    with pytest.raises(InputError, match="no CUDA device was found; set it to auto or cpu"):
        projector_on("cuda")

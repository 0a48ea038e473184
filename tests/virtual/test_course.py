"""A dynamic scan: its decays by frame and region against the closed form, and BP_ND put in and found."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.kinetics.models import Reference
from csrd.listmode import open_listmode
from csrd.scanner.geometry import hrrt
from csrd.stages.simulate import simulate_scan, write_scan
from csrd.virtual.acquire import DELAYED, RANDOM, TRUE, Acquisition, crystal_efficiencies
from csrd.virtual.course import Course, binding, mean_activity, mean_uptake, steps
from csrd.virtual.regions import REGIONS
from csrd.virtual.tracer import read_tracer

TRACERS = Path(__file__).parents[2] / "config" / "tracers"
DASB = read_tracer(TRACERS / "DASB.tsv")
FRAMES = (30.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
CONFIG = yaml.safe_load((TRACERS.parent / "dynamic.yaml").read_text())
LONG = tuple(map(float, CONFIG["acquisition"]["frames"]))
SHAPE = (6, 6, 6)


def write(path, region: str, frames=FRAMES, threads=1, bq=600.0):
    """Scan a cube that is one region; return the counts and the kind and time (s) of each event."""
    grid = Volume(np.ones(SHAPE, np.float32), centred_affine(SHAPE, 4.0))
    labels = grid.like(np.full(SHAPE, REGIONS[region], np.uint8), "label")
    course = Course.of(labels, DASB.kinetics, DASB.half_life_s, frames)
    how = Acquisition(sum(frames), DASB.half_life_s, DASB.branching, 0.25)
    kinds: list[np.ndarray] = []
    images = grid.like(grid.array * bq, "Bq/mL"), grid.like(grid.array * 0.096, "1/cm")
    efficiencies = crystal_efficiencies(hrrt(), 1, "sub-01")
    scan = efficiencies, hrrt(), how, 1, "sub-01", threads
    counts = write_scan(path, *images, *scan, kinds=kinds, course=course)
    times = [block.time_ms for block in open_listmode(path).blocks()]
    return counts, np.concatenate(kinds), np.concatenate(times) / 1000


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dynamic")
    return {name: write(folder / f"{name}.l64", name) for name in ("putamen", "cerebellar_cortex")}


@pytest.mark.parametrize("region", ["putamen", "cerebellar_cortex"])
def test_counts_of_frames_follow_the_regions_curve(scans, region):
    """Trues are independent Poisson numbers whose means are the integrals of curve times decay."""
    counts, kinds, times = scans[region]
    edges = np.append(0, np.cumsum(FRAMES))
    found = np.histogram(times[kinds == TRUE], edges)[0]
    decays = DASB.kinetics.curve(region).integral(edges, np.log(2) / DASB.half_life_s)
    expected = counts["trues"] * decays / decays.sum()
    assert counts["trues"] > 20_000 and expected.min() > 20
    chi2 = ((found - expected) ** 2 / expected).sum()
    assert chi2 < 22.5, "99.9 % of chi-squared with 6 degrees of freedom"


def test_the_two_regions_differ_and_a_constant_activity_would_fail(scans):
    shares = {name: np.mean(times[kinds == TRUE] < 540) for name, (_, kinds, times) in scans.items()}
    assert shares["cerebellar_cortex"] > shares["putamen"] + 0.02


def test_a_regions_decays_are_those_of_a_static_scan_of_its_mean(scans):
    """The activity is the mean over the decays of the scan, so the whole scan has as many counts."""
    grid = Volume(np.ones(SHAPE, np.float32), centred_affine(SHAPE, 4.0))
    how = Acquisition(sum(FRAMES), DASB.half_life_s, DASB.branching, 0.25)
    images = grid.like(grid.array * 600, "Bq/mL"), grid.like(grid.array * 0.096, "1/cm")

    def none(path, segments):
        for _ in segments:
            pass

    efficiencies = crystal_efficiencies(hrrt(), 1, "sub-01")
    counts = write_scan("-", *images, efficiencies, hrrt(), how, 1, "sub-01", write=none)
    for dynamic, _, _ in scans.values():
        assert abs(dynamic["trues"] - counts["trues"]) < 5 * np.sqrt(2 * counts["trues"])


def test_events_are_in_time_order_and_randoms_follow_the_square(scans):
    counts, kinds, times = scans["putamen"]
    assert (np.diff(times) >= 0).all() and times[-1] < sum(FRAMES)
    assert counts["random_prompts"] / counts["prompts"] == pytest.approx(0.25, abs=0.02)
    curve = DASB.kinetics.curve("putamen")
    edges = np.append(0, np.cumsum(FRAMES))
    fine = np.linspace(0, edges[-1], 20001)
    square = (curve.at(fine) * np.exp2(-fine / DASB.half_life_s)) ** 2
    shares = np.diff(np.interp(edges, fine, np.cumsum(square)))
    for kind in (RANDOM, DELAYED):
        found = np.histogram(times[kinds == kind], edges)[0]
        expected = found.sum() * shares / shares.sum()
        many = expected > 50
        assert (abs(found - expected)[many] < 5 * np.sqrt(expected[many]) + 0.01 * expected[many]).all()


def test_threads_do_not_change_the_file(tmp_path):
    for threads in (1, 3):
        write(tmp_path / f"{threads}.l64", "putamen", FRAMES[:4], threads, bq=2000)
    assert (tmp_path / "1.l64").read_bytes() == (tmp_path / "3.l64").read_bytes()


def test_steps_end_where_frames_do():
    edges = steps((0.5, 30.0, 301.0))
    assert {0.5, 30.5, 331.5} <= set(edges.tolist()) and edges[0] == 0
    lengths = np.diff(edges)
    assert (lengths <= np.maximum(5.0, 0.05 * edges[:-1]) + 1e-3).all() and (lengths > 0).all()
    assert np.allclose(edges * 1000, np.round(edges * 1000))


@pytest.fixture(scope="module")
def subject(anatomy):
    activity, _ = mean_activity(anatomy, DASB, 3, "01", 577.6, 65.0, sum(LONG), tested=True)
    return activity, anatomy.labels


def test_bp_fitted_to_the_noise_free_curves_is_what_was_put_in(subject):
    """Before any blur, frames of 1 to 20 min, every region of the brain: within 3 %, here within 1 %."""
    activity, labels = subject
    edges = np.append(0, np.cumsum(LONG))
    usual = mean_uptake(DASB.kinetics, DASB.half_life_s, sum(LONG))
    curves = {
        name: activity.array[labels.array == label].mean(dtype=float) / usual[name]
        * DASB.kinetics.means(name, edges, np.log(2) / DASB.half_life_s)
        for name, label in REGIONS.items()
    }  # fmt: skip
    weights = np.array(LONG) * np.exp2(-edges[:-1] / DASB.half_life_s)
    reference = Reference(edges[:-1], np.array(LONG), curves["cerebellar_cortex"], weights)
    put_in = binding(activity, labels, DASB, sum(LONG))
    for name in [name for name in REGIONS if DASB.kinetics.bp[name] > 0.5]:
        assert put_in[name] == pytest.approx(reference.srtm(curves[name]).bp.value, rel=0.01), name
        mrtm2 = reference.mrtm2(curves[name], DASB.kinetics.k2_reference).bp.value
        assert put_in[name] == pytest.approx(mrtm2, rel=0.02), name


def test_binding_varies_between_subjects_about_the_table(anatomy):
    found = []
    for number in range(8):
        activity, _ = mean_activity(anatomy, DASB, number, "01", 577.6, 65.0, sum(LONG))
        found.append(binding(activity, anatomy.labels, DASB, sum(LONG)))
    assert found[0]["cerebellar_cortex"] == 0
    for name in ("putamen", "thalamus", "frontal"):
        values = np.array([one[name] for one in found])
        assert values.mean() == pytest.approx(DASB.kinetics.bp[name], rel=0.2)
        assert 0.03 < values.std() / values.mean() < 0.6


def test_without_variation_the_table_is_put_in(anatomy):
    activity, labels = (
        anatomy.labels.like(np.zeros(anatomy.labels.shape, np.float32), "Bq/mL"),
        anatomy.labels,
    )
    for name, suv in mean_uptake(DASB.kinetics, DASB.half_life_s, 5400.0).items():
        activity.array[labels.array == REGIONS[name]] = 7 * suv
    assert binding(activity, labels, DASB, 5400.0) == pytest.approx(
        dict(DASB.kinetics.bp), rel=1e-5, abs=1e-5
    )


def test_a_tracer_without_kinetics_has_no_dynamic_scans(tmp_path):
    assert read_tracer(TRACERS / "FDG.tsv").kinetics is None
    files = {"listmode": tmp_path / "a.l64", "normalisation": tmp_path / "n.npy"}
    with pytest.raises(InputError, match=r"FDG.tsv has no kinetics.*add the columns bp and r1"):
        simulate_scan(TRACERS / "FDG.tsv", "a", "m", duration_s=1, randoms_fraction=0, seed=1,
                      subject="x", frames=[60.0], labels="l", **files)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("# k2prime_per_min: 0.072\n", ""), "does not state k2prime_per_min"),
        (
            lambda t: t.replace("reference: cere", "reference: cera"),
            "reference the value 'cerabellar_cortex'",
        ),
        (lambda t: t.replace(" 0.002\n", "\n"), "input_per_min 5 numbers"),
        (lambda t: t.replace(" 0.002\n", " 0\n"), "input_per_min the value '0'; write a number above 0"),
        (lambda t: t.replace("\t2.75\t", "\t-1\t"), "bp of putamen the value '-1'; write a number above -1"),
        (lambda t: t.replace("\t1.55\n", "\t0\n"), "r1 of putamen the value '0'; write a number above 0"),
        (lambda t: t.replace("0.085\t0\t1\n", "0.085\t0.1\t1\n"), "another bp than 0"),
        (lambda t: t.replace("\tbp\tr1", "\tbp\tR1"), "has the columns"),
    ],
)
def test_unusable_kinetics_are_refused(tmp_path, change, message):
    path, text = tmp_path / "tracer.tsv", (TRACERS / "DASB.tsv").read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(InputError, match=message):
        read_tracer(path)


def test_spots_change_the_binding_put_in(anatomy):
    args = DASB, 3, "01", 577.6, 65.0, sum(LONG)
    plain = binding(mean_activity(anatomy, *args)[0], anatomy.labels, DASB, sum(LONG))
    tested = binding(mean_activity(anatomy, *args, tested=True)[0], anatomy.labels, DASB, sum(LONG))
    assert tested["white_matter"] != plain["white_matter"]

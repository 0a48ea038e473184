from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from csrd.errors import InputError
from csrd.io.volume import centred_affine
from csrd.seeds import generator
from csrd.virtual.regions import REGIONS
from csrd.virtual.spots import Spot, apply_spot
from csrd.virtual.tracer import activity, read_tracer, subject_suv

DASB = Path(__file__).parents[2] / "config" / "tracers" / "DASB.tsv"


def table(tmp_path: Path, change=lambda text: text) -> Path:
    path = tmp_path / "tracer.tsv"
    path.write_text(change(DASB.read_text()))
    return path


def test_dasb_is_read():
    tracer = read_tracer(DASB)
    assert (tracer.name, tracer.half_life_s, tracer.branching) == ("DASB", 1224.0, 0.9976)
    assert set(tracer.suv) == set(REGIONS) and tracer.suv["putamen"] == 6.0 and tracer.suv["csf"] == 0.3


def test_another_tracer_works(anatomy, tmp_path):
    rows = [f"{region}\t{label}\t{1.0 + label / 10}\t0" for region, label in REGIONS.items()]
    text = "# tracer: FDG\n# half_life_s: 6586.2\nregion\tlabel\tsuv\tsd\n" + "\n".join(rows) + "\n"
    tracer = read_tracer(table(tmp_path, lambda _: text))
    assert (tracer.name, tracer.branching, tracer.global_sd) == ("FDG", 1.0, 0.0)
    assert np.allclose(subject_suv(generator(1, "x"), tracer)[1:], 1.1 + np.arange(21) / 10)
    volume, _ = activity(anatomy, tracer, 1, "01", 200.0, 70.0, 0.0)
    white = volume.array[core(anatomy, "white_matter")].mean()
    assert white == pytest.approx(2.8 * 200e6 / 70e3, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("region\tlabel", "area\tlabel"), "has the columns"),
        (lambda t: "", "is empty"),
        (lambda t: t.replace("putamen\t", "shell\t"), "unknown region 'shell'"),
        (lambda t: t.replace("putamen\t10", "putamen\t11"), "label 11; it is 10"),
        (lambda t: t.replace("\t6.0\t", "\tsix\t"), "putamen the value 'six'"),
        (lambda t: t.replace("\t6.0\t", "\t-6\t"), "not negative"),
        (lambda t: t.replace("\t6.0\t", "\tnan\t"), "not negative"),
        (lambda t: t.replace("\t6.0\t", "\t"), "more or fewer cells"),
        (lambda t: t.replace("half_life_s", "life"), "does not state half_life_s"),
        (lambda t: t.replace("half_life_s: 1224", "half_life_s: 0"), "half-life in seconds"),
        (lambda t: t + "csf\t19\t1\t0\t0\t1\n", "twice"),
        (lambda t: t.replace("csf\t19\t0.3\t0.10\t-0.85\t0.11\n", ""), "lacks the regions csf"),
    ],
)
def test_a_bad_table_is_refused_with_a_sentence(tmp_path, change, message):
    path = table(tmp_path, change)
    with pytest.raises(InputError, match=message) as refused:
        read_tracer(path)
    assert str(path) in str(refused.value)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a readable table .*; see config/tracers/DASB.tsv"):
        read_tracer(tmp_path / "absent.tsv")


def test_uptake_over_subjects_is_the_tables():
    tracer = read_tracer(DASB)
    rng = generator(3, "many")
    many = np.array([subject_suv(rng, tracer) for _ in range(1500)])
    mean = np.array([tracer.suv[region] for region in REGIONS])
    spread = np.array([np.hypot(tracer.sd[region], tracer.global_sd) for region in REGIONS])
    assert np.allclose(many[:, 1:].mean(axis=0), mean, rtol=0.02)
    assert np.allclose(many[:, 1:].std(axis=0) / mean, spread, rtol=0.12)
    assert np.all(many[:, 0] == 0)
    shared = tracer.global_sd**2 / (spread[0] * spread[9])  # the subject's own factor
    assert np.corrcoef(many[:, 1], many[:, 10])[0, 1] == pytest.approx(shared, abs=0.08)


def core(anatomy, region: str) -> np.ndarray:
    """Return the voxels of a region whose neighbours are in it too, where borders do not mix."""
    return ndimage.binary_erosion(anatomy.labels.array == REGIONS[region], iterations=2)


def test_activity_is_suv_times_dose_decayed_to_the_scans_start(anatomy):
    tracer = read_tracer(DASB)
    volume, spots = activity(anatomy, tracer, 5, "01", 577.6, 65.0, 1224.0)
    per_suv = 577.6e6 / 65e3 / 2
    for region in ("white_matter", "thalamus", "pons"):
        mean = volume.array[core(anatomy, region)].mean() / per_suv
        reach = 2.5 * (tracer.sd[region] + tracer.global_sd) + 0.1
        assert abs(mean / tracer.suv[region] - 1) < reach, region
    later, _ = activity(anatomy, tracer, 5, "01", 577.6, 65.0, 2448.0)
    assert np.allclose(later.array, volume.array / 2)
    assert volume.unit == "Bq/mL" and volume.array.dtype == np.float32
    assert volume.array.min() >= 0 and np.all(volume.array[anatomy.labels.array > 0] > 0)
    assert np.all(volume.array[anatomy.labels.array == 0] == 0)
    assert 4 <= len(spots) <= 8


def test_activity_repeats_and_subjects_differ(anatomy):
    tracer = read_tracer(DASB)
    dose = 577.6, 65.0, 2100.0
    volume, spots = activity(anatomy, tracer, 5, "01", *dose)
    again, same = activity(anatomy, tracer, 5, "01", *dose)
    other, moved = activity(anatomy, tracer, 5, "02", *dose)
    assert volume.array.tobytes() == again.array.tobytes() and spots == same
    assert not np.allclose(volume.array, other.array) and spots != moved
    tested, more = activity(anatomy, tracer, 5, "01", *dose, tested=True)
    assert more[: len(spots)] == spots and len(more) == len(spots) + 24
    ratio = np.divide(tested.array, volume.array, out=np.ones_like(tested.array), where=volume.array > 0)
    assert (np.abs(ratio - 1) > 1e-6).mean() < 0.02, "only the test set's spots differ"


def test_a_spot_has_its_contrast_and_its_volume():
    affine = centred_affine((24, 24, 24), 1.5)
    uptake = np.ones((24, 24, 24))
    apply_spot(uptake, affine, Spot((1.0, -2.0, 3.3), 6.0, 1.6))
    assert uptake.max() == pytest.approx(1.6)
    assert (uptake - 1).sum() * 1.5**3 / 0.6 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.03)
    weights = uptake - 1
    centre = [(weights * i).sum() / weights.sum() for i in np.indices(uptake.shape)]
    assert np.allclose(affine @ [*centre, 1], [1.0, -2.0, 3.3, 1], atol=0.05)

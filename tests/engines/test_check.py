"""The check of an outside engine's image: faults that engines commit, one at a time."""

import shlex
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from csrd.config.sections import Command, Recon
from csrd.engines.check import (
    Comparison,
    QuickRecon,
    check_image,
    compared,
    quick_recon,
    turned,
    turns,
)
from csrd.errors import InputError
from csrd.io.normalisation import read_efficiencies
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode
from csrd.resample import resample
from csrd.scanner.geometry import mmr
from csrd.stages.outside import updates_of
from csrd.stages.recon import embedded_image, image_of
from tests.engines.conftest import RECON, SHAPE, VOXEL, Scan


@pytest.fixture(scope="module")
def quick(scan):
    """Return the scan prepared for quick images, and the quick image."""
    efficiencies = read_efficiencies(scan.files.normalisation, mmr().crystals, "mMR")
    listmode, mumap = open_listmode(scan.files.listmode), Volume.load(scan.files.mumap, unit="1/cm")
    arrays = mmr(), partial(resample, mumap), efficiencies, None
    with quick_recon(listmode, *arrays, np.array(SHAPE) * VOXEL, "none", None, 1, 1, "sub-01") as prepared:
        kept = Kept(**vars(prepared))
        yield kept, kept.image()


class Kept(QuickRecon):
    """Quick images that are computed once for all tests."""

    images: ClassVar[dict] = {}

    def image(self, **corrections) -> Volume:
        key = self.updates, *sorted(corrections.items())
        if key not in self.images:
            self.images[key] = super().image(**corrections)
        return self.images[key]


@pytest.fixture(scope="module")
def lacking_images(scan, tmp_path_factory):
    """Return a function that returns the embedded engine's image without one correction."""
    return cache(lambda lacking: without(lacking, scan, tmp_path_factory.mktemp("lacking")))


def flipped(image: Volume, *axes: int) -> Volume:
    return image.like(np.flip(image.array, axes))


def test_the_embedded_engines_image_agrees(scan, quick):
    prepared, reference = quick
    entry = check_image(scan.image, prepared, reference, calibrated=True)
    assert entry["Correlation"] > 0.97 and abs(entry["Total"] - 1) < 0.05
    relative = check_image(scan.image.like(scan.image.array * 123), prepared, reference, calibrated=False)
    assert relative["Correlation"] == entry["Correlation"] and "Total" not in relative


FEW = 3  # updates, after which 0.85 of the activity is there


@pytest.fixture(scope="module")
def unfinished(scan, quick):
    """Return the embedded engine's image of few updates, and the scan prepared for quick ones of as few."""
    recon = RECON.model_copy(update={"subsets": FEW, "iterations": 1})
    image, _ = embedded_image(scan.files, recon, drf=1, seed=1, subject="sub-01", threads=1)
    return image, replace(quick[0], updates=FEW)


def test_an_unfinished_image_is_compared_with_one_of_as_few_updates(unfinished, quick):
    image, prepared = unfinished
    assert abs(check_image(image, prepared, prepared.image(), calibrated=True)["Total"] - 1) < 0.05
    with pytest.raises(InputError, match=r"has 0.8\d* times the activity"):
        check_image(image, *quick, calibrated=True)


def test_faults_of_an_unfinished_image_are_named(unfinished, scan, tmp_path):
    image, prepared = unfinished
    with pytest.raises(InputError, match="turned by 180° about z"):
        check_image(flipped(image, 0, 1), prepared, prepared.image(), calibrated=True)
    recon = RECON.model_copy(update={"subsets": FEW, "iterations": 1})
    image = without("attenuation", scan, tmp_path, recon)
    with pytest.raises(InputError, match="made without attenuation"):
        check_image(image, prepared, prepared.image(), calibrated=True)


def test_the_quick_images_field_is_the_engines(quick):
    # Else the uniform image to begin with has other values, and unfinished images another total
    sensitivity = quick[0].geometric
    seen, voxel_mm = sensitivity.array > 0, sensitivity.voxel_mm
    extent = [np.ptp(np.flatnonzero(seen.any(axis=other))) + 1 for other in ((1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(extent * voxel_mm, np.array(SHAPE) * VOXEL, atol=voxel_mm.max())


@pytest.mark.parametrize(
    ("settings", "subsets", "iterations"),
    [(1, 1, 1), (3, 3, 1), (9, 4, 2), (14, 7, 2), (24, 8, 3)],
)
def test_a_quick_image_has_as_many_updates(settings, subsets, iterations, quick):
    recon = replace(quick[0], updates=settings)._settings(True)
    assert (recon.subsets, recon.iterations) == (subsets, iterations)


@pytest.mark.parametrize(
    ("run", "updates"),
    [
        ("engine {listmode} -n {iterations}:{subsets} {output}", 10),
        ("engine {listmode} -n {iterations} {output}", None),
        ("engine {listmode} {output}", None),
    ],
)
def test_the_number_of_updates_is_the_settings_where_the_command_has_both(run, updates):
    command = Command(run=run, scales_dose="csrd", unit="Bq/mL")
    assert updates_of(command, RECON.model_copy(update={"subsets": 5, "iterations": 2})) == updates


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda image: flipped(image, 0), "mirrored along x, that is, its x, y, z in RAS. run to L, A, S"),
        (lambda image: flipped(image, 2), "mirrored along z"),
        (lambda image: flipped(image, 0, 1), "turned by 180° about z, .* run to L, P, S"),
        (lambda image: flipped(image, 0, 1, 2), "mirrored through the centre"),
        (
            lambda image: Volume(image.array.transpose(1, 0, 2), centred_affine((36, 40, 36), VOXEL)),
            "axes are interchanged, .* run to A, R, S",
        ),
        (lambda image: image.like(image.array * 1000), "times the activity .*: it is multiplied by 1000"),
        (lambda image: image.like(image.array * 0.6), r"0\.(59|6)\d* times the activity"),
    ],
)
def test_a_flip_a_turn_and_a_factor_are_named(fault, sentence, scan, quick):
    prepared, reference = quick
    with pytest.raises(InputError, match=sentence) as caught:
        check_image(fault(scan.image), prepared, reference, calibrated=True)
    assert "recon.command.check: false" in str(caught.value)


def test_an_image_at_another_place_is_named_in_mm(scan, quick):
    # As if an engine counted voxels from another corner: 2 voxels of 6 mm towards the left and the head
    moved = scan.image.like(np.roll(scan.image.array, (-2, 0, 2), axis=(0, 1, 2)))
    with pytest.raises(InputError, match=r"lies -1[123], -?[01], 1[123] mm along x, y, z from") as caught:
        check_image(moved, *quick, calibrated=False)
    assert "another grid" in str(caught.value)
    near = scan.image.like(np.roll(scan.image.array, 1, axis=1))
    assert check_image(near, *quick, calibrated=False)["Correlation"] > 0.8, "less than a coarse voxel"


def test_an_image_of_something_else_is_unlike(scan, quick):
    prepared, reference = quick
    noise = np.random.default_rng(1).random(scan.image.shape, np.float32)
    with pytest.raises(InputError, match=r"unlike a quick one .* \(correlation -?0"):
        check_image(scan.image.like(noise), prepared, reference, calibrated=False)


def test_an_unscaled_dose_is_named(scan, quick):
    prepared, reference = quick
    low = replace(prepared, drf=4)
    for factor, sentence in ((0.25, "it is not scaled for the dose"), (4, "scaled for the dose twice")):
        with pytest.raises(InputError, match=sentence):
            check_image(scan.image.like(scan.image.array * factor), low, reference, calibrated=True)


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("lacking", ["attenuation", "efficiencies of crystals"])
def test_a_missing_correction_is_named(lacking, calibrated, quick, lacking_images):
    prepared, reference = quick
    image = lacking_images(lacking)
    with pytest.raises(InputError, match=f"made without {lacking}"):
        check_image(image, prepared, reference, calibrated)


def without(lacking: str, scan: Scan, folder: Path, recon: Recon = RECON) -> Volume:
    """Return the embedded engine's image without one correction."""
    files = scan.files
    if lacking == "attenuation":
        files = replace(files, attenuation=False)
    else:
        efficiencies = np.load(files.normalisation)
        np.save(folder / "flat.npy", np.full_like(efficiencies, efficiencies.mean()))
        files = replace(files, normalisation=folder / "flat.npy")
    return embedded_image(files, recon, drf=1, seed=1, subject="sub-01", threads=1)[0]


def outside(scan: Scan, image: Volume, folder: Path, drf: int = 1, **settings):
    """Return image and sidecar of a command that copies a finished image."""
    image.save(folder / "finished.nii.gz")
    copied = shlex.quote(str(folder / "finished.nii.gz"))
    settings = {"scales_dose": "csrd", "unit": "Bq/mL", **settings}
    command = Command(run=f"sh -c 'test -f $0 && cp {copied} $1' {{listmode}} {{output}}", **settings)
    recon = Recon(engine="command", command=command, matrix=SHAPE, voxel_mm=VOXEL, scatter="none")
    return image_of(scan.files, recon, drf, seed=1, subject="sub-01", threads=1, log=folder / "log")


def test_the_check_comes_after_the_command_and_can_be_left_out(scan, tmp_path):
    image, sidecar = outside(scan, scan.image, tmp_path)
    assert sidecar["EngineCheck"]["Correlation"] > 0.97 and sidecar["EngineUnits"] == "Bq/mL"
    wrong = flipped(scan.image, 0, 1)
    with pytest.raises(InputError, match="turned by 180° about z"):
        outside(scan, wrong, tmp_path)
    kept, sidecar = outside(scan, wrong, tmp_path, check=False)
    assert np.array_equal(kept.array, wrong.array) and "EngineCheck" not in sidecar


COMMITS = {  # what a stand-in does to the right image on its way
    "swapped axes": (lambda image: on_grid(image.array.transpose(0, 2, 1), VOXEL), "axes are interchanged"),
    "swapped shape": (
        lambda image: on_grid(image.array.transpose(1, 0, 2), VOXEL),
        r"has shape \(36, 40, 36\)",
    ),
    "reversed axes": (lambda image: flipped(image, 2), "mirrored along z"),
    "a forgotten dose": (lambda image: image.like(image.array / 4), "it is not scaled for the dose"),
    "kBq/mL": (lambda image: image.like(image.array / 1000), "its unit is kBq/mL"),
    "no calibration": (lambda image: image.like(image.array * 37), "has 3[67].* times the activity"),
    "fewer voxels": (
        lambda image: on_grid(image.array[:, :, :-1], VOXEL),
        r"has shape \(40, 36, 35\), but recon.matrix",
    ),
    "other voxels": (lambda image: on_grid(image.array, 5.5), r"voxels of \[5.5 5.5 5.5\] mm, but"),
    "another origin": (lambda image: moved(image, 24.0), "has its centre at"),
    "another place": (lambda image: image.like(np.roll(image.array, 3, 0)), r"lies 1[6789], -?\d, -?\d mm"),
}


def on_grid(array: np.ndarray, voxel_mm: float) -> Volume:
    return Volume(array, centred_affine(array.shape, voxel_mm))


def moved(image: Volume, mm: float) -> Volume:
    affine = image.affine.copy()
    affine[2, 3] += mm
    return Volume(image.array, affine)


@pytest.mark.parametrize("fault", COMMITS)
def test_a_command_that_commits_a_fault_is_refused(fault, scan, quick, tmp_path, monkeypatch):
    spoilt, sentence = COMMITS[fault]
    with_kept_quick_images(monkeypatch, quick[0])
    dose = {"drf": 4, "scales_dose": "engine"} if "dose" in fault else {}
    with pytest.raises(InputError, match=sentence):
        outside(scan, spoilt(scan.image), tmp_path, **dose)


@pytest.mark.parametrize("lacking", ["attenuation", "efficiencies of crystals"])
def test_a_command_that_forgets_a_factor_is_refused(
    lacking, scan, quick, lacking_images, tmp_path, monkeypatch
):
    with_kept_quick_images(monkeypatch, quick[0])
    with pytest.raises(InputError, match=f"made without {lacking}"):
        outside(scan, lacking_images(lacking), tmp_path)


def with_kept_quick_images(monkeypatch, prepared: QuickRecon) -> None:
    """Take the quick images of the other tests, since each costs seconds."""

    def kept(*given):
        return nullcontext(replace(prepared, drf=given[-3]))

    monkeypatch.setattr("csrd.stages.outside.quick_recon", kept)


def test_the_sidecar_has_the_engines_unit_and_its_calibration_factor(scan, tmp_path):
    settings = {"unit": "relative", "calibration": 1.5e4, "check": False}
    image, sidecar = outside(scan, Volume(scan.image.array / 1.5e4, scan.image.affine), tmp_path, **settings)
    np.testing.assert_allclose(image.array, scan.image.array, rtol=1e-5)
    assert sidecar["EngineUnits"] == "relative" and sidecar["EngineCalibrationFactor"] == 1.5e4
    assert sidecar["Units"] == "Bq/mL"


def test_where_nothing_can_be_compared_it_is_noted(scan, tmp_path, caplog):
    header = tmp_path / "scan.l.hdr"
    text = scan.files.header.read_text()
    header.write_text("".join(line for line in text.splitlines(True) if "halflife" not in line))
    (tmp_path / "scan.l").symlink_to(scan.files.listmode)
    bare = replace(scan, files=replace(scan.files, listmode=tmp_path / "scan.l", header=header))
    _, sidecar = outside(bare, scan.image, tmp_path)
    assert "not checked: the header of" in sidecar["EngineCheck"] and "halflife" in sidecar["EngineCheck"]
    assert sidecar["EngineCheck"] in caplog.text


def test_a_cubes_48_orientations_are_all_different():
    cube = np.arange(27.0).reshape(3, 3, 3)
    images = {turned(cube, turn).tobytes() for turn in turns()}
    assert len(images) == 48 and cube.tobytes() in images


def test_equal_images_correlate_fully_and_the_inverse_turn_is_found():
    draw = np.random.default_rng(1)
    image, seen = draw.random((6, 6, 6)), np.ones((6, 6, 6), bool)
    same = compared(2 * image, image, seen)
    assert same.correlation == pytest.approx(1) and same.total == pytest.approx(2)
    assert same.shape == pytest.approx(0, abs=1e-6)
    for turn in turns():
        found = compared(turned(image, turn), image, seen)
        best = max(found.correlation, found.turned_correlation)
        assert isinstance(found, Comparison) and best == pytest.approx(1)

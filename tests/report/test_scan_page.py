"""The page of one scan: its colours, contours, regions and text, on images whose values are known."""

import gzip
import hashlib
import re

import nibabel as nib
import numpy as np
import pytest

from csrd.errors import InputError
from csrd.io.embedded import compact_nifti
from csrd.io.volume import Volume, centred_affine
from csrd.report import viewer
from csrd.report.html import number, percent, short
from csrd.report.paragraph import paragraph
from csrd.report.planes import Ramp, contour
from csrd.report.scan import Regions, Scan, scan_page
from csrd.report.slices import View
from csrd.report.uptake import CORRELATED_MM3, FLOOR, QUANTILE, half_width, uptake

SHAPE = (20, 24, 18)
LABEL = {1: "left", 2: "right"}


def ball(value: float, unit: str = "Bq/mL", seed: int | None = None) -> Volume:
    """A ball of uptake, with noise where there is a seed."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    array = value * (np.sqrt((grid**2).sum(0)) < 0.8).astype(np.float32)
    if seed is not None:
        array *= np.random.default_rng(seed).uniform(0.5, 1.5, SHAPE).astype(np.float32)
    return Volume(array, centred_affine(SHAPE, 4.0), unit)


def scan(**differs) -> Scan:
    labels = np.zeros(SHAPE, int)
    labels[5:9, 8:14, 6:10], labels[11:15, 8:14, 6:10] = 1, 2
    given = {
        "title": "sub-01_pet.nii.gz",
        "before": ball(20_000, seed=1),
        "after": ball(20_000),
        "std": ball(1_000),
        "mr": ball(300, "arbitrary"),
        "regions": Regions(labels, LABEL, "The regions are by hand."),
        "facts": {"Denoising": "CSRD w MR", "Versions": {"csrd": "0.1.0"}, "Samples": 8, "Product": "mean"},
        "hashes": {"pet.nii.gz": "abc123"},
        "packaged": True,
    }
    return Scan(**given | differs)


def test_a_ramp_has_its_colours_at_its_ends_and_halfway():
    ramp = Ramp(("#000000", "#ff8000"), -1.0, 1.0)
    assert ramp.over(np.array([-5.0, -1.0, 0.0, 1.0, 9.0])).tolist() == [
        [0, 0, 0], [0, 0, 0], [128, 64, 0], [255, 128, 0], [255, 128, 0],
    ]  # fmt: skip


def test_a_contour_surrounds_the_voxels_above_its_level():
    array = np.zeros(SHAPE, np.float32)
    array[4:8, 6:18, :] = 1
    view = View(np.full(3, 4.0), np.array([5, 10, 9]), tuple(slice(0, n) for n in SHAPE))
    numbers = np.array([float(x) for x in re.findall(r"[\d.]+", contour(array, 0.5, view, "axial"))])
    x, y = numbers.reshape(-1, 2).T
    assert (x.min(), x.max()) == pytest.approx((4 / 20, 8 / 20), abs=1e-4)
    assert (y.min(), y.max()) == pytest.approx((1 - 18 / 24, 1 - 6 / 24), abs=1e-4)


def test_compact_volumes_keep_their_values_to_half_a_step():
    volume = ball(20.0, seed=3)
    read = nib.Nifti1Image.from_bytes(gzip.decompress(compact_nifti(volume, 0.0, 25.0)))
    assert np.abs(read.get_fdata() - volume.array.clip(0, 25)).max() <= 0.05 + 1e-4
    assert np.allclose(read.affine, volume.affine)
    assert compact_nifti(volume, 0.0, 25.0) == compact_nifti(volume, 0.0, 25.0)


def test_the_interval_of_a_tiny_and_of_an_endless_region():
    std = np.full(10, 3.0)
    assert half_width(std, 1e-9) == pytest.approx(QUANTILE * 3)
    assert half_width(std, 1e15) == pytest.approx(QUANTILE * 3 * FLOOR, rel=1e-3)
    middle = np.sqrt(FLOOR**2 + (1 - FLOOR**2) / 2)
    assert half_width(std, CORRELATED_MM3) == pytest.approx(QUANTILE * 3 * middle)


def test_the_uptake_of_regions():
    given = scan()
    rows = uptake(given.before, given.after, None, given.regions.labels, {**LABEL, 3: "nowhere"})
    assert [row.name for row in rows] == ["left", "right"]
    assert rows[0].ml == pytest.approx(4 * 6 * 4 * 0.064)
    assert rows[0].after == pytest.approx(20_000) and rows[0].half is None
    assert rows[0].before == pytest.approx(given.before.array[5:9, 8:14, 6:10].mean())
    assert rows[0].change == pytest.approx(20_000 / rows[0].before - 1)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (12.345, "12.3"), (1234.5, "1234"), (-0.5, "−0.500")])
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_percent_and_short():
    assert (percent(-0.123), percent(float("nan")), short(-1234.5)) == ("−12.3 %", "–", "−1.23e+03")


def test_the_page_is_one_file_that_fetches_nothing():
    page = scan_page(scan())
    assert "src=" in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'src="([^"]*)"', page))
    assert not re.search(r"<link|<iframe|@import|url\(", page)
    without = scan_page(scan(), viewer=False)
    assert len(without) < 5e6 and "viewer-start" not in without


def test_the_page_has_every_part():
    page = scan_page(scan(), viewer=False)
    for part in ("Nothing unusual was noticed", "90 % interval", "left", "20.0", "abc123", "CC0 1.0", "3 %"):
        assert part in page, part
    assert len(re.findall(r"<img", page)) == 3 * 4 + 3
    assert all("alt=" in image for image in re.findall(r"<img[^>]*>", page))


def test_the_page_says_what_was_noticed_and_what_is_missing():
    facts = {"InputNotes": ["pet.nii.gz: it is <odd>"]}
    page = scan_page(scan(facts=facts, std=None, mr=None, regions=None, no_regions="No atlas."), viewer=False)
    assert "it is &lt;odd&gt;" in page and "Nothing unusual" not in page
    assert "without an MR" in page and "No atlas." in page and "90 % interval" not in page


def test_a_reference_gives_errors_instead_of_differences():
    page = scan_page(scan(reference=ball(18_000)), viewer=False)
    assert "After minus normal dose" in page and "After minus before" not in page


def test_axes_in_another_order_give_the_same_page():
    given = scan()
    turned = {}
    for name in ("before", "after", "std", "mr"):
        image = getattr(given, name)
        affine = image.affine @ np.array([[0, -1, 0, 19], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
        turned[name] = Volume(np.ascontiguousarray(image.array[::-1].transpose(2, 0, 1)), affine, image.unit)
        assert np.allclose(turned[name].canonical().array, image.array)
    labels = given.regions.labels[::-1].transpose(2, 0, 1)
    other = scan(**turned, regions=Regions(labels, LABEL, "The regions are by hand."))
    plain = re.compile(r"voxels of|<blockquote.*?</blockquote>", flags=re.DOTALL)
    assert plain.sub("", scan_page(other, viewer=False)) == plain.sub("", scan_page(given, viewer=False))


def test_an_image_on_another_grid_is_refused():
    moved = ball(20_000)
    affine = moved.affine.copy()
    affine[0, 3] += 2
    with pytest.raises(InputError, match="'after' is not on the grid"):
        scan_page(scan(after=Volume(moved.array, affine, moved.unit)))


def test_the_paragraph_says_what_was_done():
    facts = {
        "RegistrationMatrix": np.eye(4).tolist(),
        "Product": "mean",
        "Samples": 4,
        "Sampler": {"steps": 6},
    }
    pet = ball(1.0)
    text = paragraph(facts, pet, with_mr=True, with_std=True, packaged=True)
    assert "20 × 24 × 18 voxels of 4 × 4 × 4 mm" in text and "registered to the PET" in text
    assert "synthetic scans only" in text and "4 samples (Heun's method, 6 steps)" in text
    text = paragraph({"DoseReductionFactor": 4.0}, pet, with_mr=False, with_std=False, packaged=False)
    assert "The dose reduction factor was 4." in text and "No MR was used." in text and "samples" not in text


def test_the_librarys_checksum_and_licence_are_beside_it():
    licences = (viewer.FOLDER / "LICENCES.txt").read_text()
    digest = hashlib.sha256(gzip.decompress(viewer.LIBRARY.read_bytes())).hexdigest()
    assert digest in licences and "BSD 2-Clause" in licences

"""The public names of `import csrd`, on arrays whose results are known."""

import subprocess
import sys

import numpy as np
import pytest

import csrd
from tests.docs.conftest import images


def test_a_name_is_imported_when_it_is_used():
    said = "import sys, csrd; print('numpy' in sys.modules, 'torch' in sys.modules); csrd.denoise; print(1)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False", "1"]


def test_every_public_name_is_there():
    assert all(getattr(csrd, name) for name in csrd.__all__)
    with pytest.raises(AttributeError, match="no attribute 'denoised'"):
        _ = csrd.denoised


def test_a_model_read_once_denoises_as_one_read_for_the_scan():
    _, low, mr = images()
    model = csrd.load_model("csrd", device="cpu")
    half = low.like(low.array / 2)
    many = [model.denoise(scan, mr, drf=8).image for scan in (half, low)]
    once = csrd.denoise(low, mr, drf=8, device="cpu").image
    assert many[1] == once and many[0] != once


def test_a_standard_deviation_is_there_where_it_is_requested():
    _, low, _ = images()
    model = csrd.load_model("csrdnomr", device="cpu", samples=2)
    assert model.denoise(low, drf=4).std is None
    assert model.denoise(low, drf=4, std=True).std.same_grid(low)


def test_an_error_that_is_known_is_measured():
    normal, *_ = images()
    inside = normal.like(normal.array > 500, "mask")
    other = normal.like(normal.array + np.float32(25))
    values = csrd.evaluate(other, normal, inside)
    assert values["mae"] == pytest.approx(25, rel=1e-4)
    peak = normal.array[normal.array > 500].max()
    assert values["psnr"] == pytest.approx(20 * np.log10(peak / 25), rel=1e-4)


def test_volumes_are_equal_where_all_of_them_is():
    normal, low, _ = images()
    twin = csrd.Volume(normal.array.copy(), normal.affine.copy(), normal.unit)
    assert normal == twin and normal != low and normal in [low, twin]
    assert normal != normal.like(normal.array, "SUV") and normal != 1
    assert normal != csrd.Volume(normal.array, normal.affine * 2, normal.unit)

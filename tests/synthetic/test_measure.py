"""Head mask, scale and noise level on the device against those that a scan is denoised by."""

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from csrd.align.head import head_mask
from csrd.io.volume import Volume, centred_affine
from csrd.methods.learned import scaling
from csrd.synthetic import Synthetic, measure
from csrd.synthetic.conditions import noise_level


def test_otsu_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.gamma(2, 1, 5000), rng.normal(12, 2, 3000)]).astype(np.float32)
    found = float(measure.otsu(torch.from_numpy(values)))
    assert found == pytest.approx(threshold_otsu(values), rel=1e-3)


@pytest.mark.parametrize("index", range(6))
def test_what_training_sees_is_what_a_scan_is_scaled_by(anatomies, noise_bank, index):
    source = Synthetic(anatomies, noise_bank, torch.device("cpu"), seed=4)
    low, voxel_mm = source.volume(index).low, source.volume(index).voxel_mm
    volume = Volume(low.numpy(), centred_affine(low.shape, voxel_mm), "Bq/mL")
    mask = measure.head_mask(low, voxel_mm)
    scale = measure.mean_inside(low, mask)
    expected = head_mask(volume)
    overlap = 2 * (mask.numpy() & expected).sum() / (mask.sum() + expected.sum())
    assert overlap > 0.92
    assert float(scale) == pytest.approx(scaling.Head.of(volume).scale, rel=0.05)
    level = float(noise_level(low / scale, mask, voxel_mm))
    assert level == pytest.approx(scaling.measured_level(volume, scaling.Head.of(volume)), rel=0.05)

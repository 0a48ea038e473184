"""Changes of training patches: closed forms of spots, of their noise and of displacements."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from csrd.train.augment import (
    NOISE_POWER,
    RADIUS_MM,
    RATIO,
    Augmentation,
    Spot,
    blurred_ball,
    displaced,
    with_uptake,
)
from csrd.train.patches import Patches, Scan

VOXEL_MM = (2.0, 2.5, 3.0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scan(shape=(24, 24, 24), noise=0.1, unit=0.25) -> Scan:
    """Return a uniform head with white noise, and an MR that is its own first coordinate."""
    normal = torch.ones(1, *shape)
    low = normal + noise * torch.randn(1, *shape, generator=rng(1))
    mr = torch.arange(shape[0]).float()[None, :, None, None].expand(1, *shape)
    return Scan(torch.cat([low, mr]), (low - normal) / unit, math.log(4), unit, voxel_mm=VOXEL_MM)


@pytest.mark.parametrize(("radius", "sigma"), [(6.0, 2.0), (2.0, 3.0)])
def test_a_blurred_ball_is_the_convolution(radius, sigma):
    fine = 0.5
    axis = (np.arange(81) - 40) * fine
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    inside = np.clip((radius - distance) / fine + 0.5, 0, 1)
    wanted = ndimage.gaussian_filter(inside, sigma / fine)
    found = blurred_ball(torch.from_numpy(distance), radius, sigma).numpy()
    assert np.abs(found - wanted).max() < 0.01
    centre = math.erf(radius / sigma / math.sqrt(2)) - math.sqrt(2 / math.pi) * radius / sigma * math.exp(
        -((radius / sigma) ** 2) / 2
    )
    assert found[40, 40, 40] == pytest.approx(centre, abs=1e-5)


def test_a_spot_has_its_ratio_in_its_middle_and_none_far_away():
    spot = Spot((10.0, 8.0, 7.0), radius_mm=9.0, ratio=1.6)
    factor = spot.factor((21, 17, 15), VOXEL_MM, 3.0, torch.device("cpu"))
    assert factor[10, 8, 7] == pytest.approx(1.6, abs=1e-3) and factor[0, 0, 0] == pytest.approx(1, abs=1e-3)
    half = spot.factor((21, 17, 15), VOXEL_MM, 0.5, torch.device("cpu"))
    assert half[10, 8, 10] == pytest.approx(1.3, abs=0.02), "half at the surface, 9 mm along z"


def test_residuals_have_the_mean_and_the_variance_of_the_noise_there():
    normal, factor = torch.ones(1, 60, 60, 60), torch.full((1, 60, 60, 60), 1.7)
    noise = 0.1 * torch.randn(normal.shape, generator=rng(3))
    low, changed = with_uptake(normal + noise, normal, factor)
    residual, n = low - changed, normal.numel()
    assert torch.equal(changed, 1.7 * normal)
    sd = 0.1 * 1.7**NOISE_POWER
    assert residual.mean().item() == pytest.approx(0, abs=5 * sd / n**0.5)
    assert residual.std().item() == pytest.approx(sd, rel=5 / (2 * n) ** 0.5)


def test_patches_have_spots_where_the_settings_say_so():
    n, measured = 60, scan()
    plain = Patches([measured], (24, 24, 24), 0, mirror=False).draw(1, range(n))
    changed = Patches(
        [measured], (24, 24, 24), 0, mirror=False, augmentation=Augmentation(lesions=0.5, lesion_fwhm_mm=5.0)
    ).draw(1, range(n))
    normal, was = (b.inputs[:, :1] - measured.unit * b.target for b in (changed, plain))
    other = ((normal - was).abs() > 1e-5).flatten(1).any(1)
    assert other.float().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / n**0.5)
    assert torch.allclose(changed.inputs[~other], plain.inputs[~other], atol=1e-4)
    assert torch.equal(changed.inputs[:, 1], plain.inputs[:, 1]), "the MR shows no spot"
    residual = changed.target / normal.clamp(min=0.01) ** NOISE_POWER  # over what the noise is scaled by
    ratio = residual[other].std() / plain.target.std()
    assert ratio.item() == pytest.approx(1, rel=0.02)
    assert normal.min() > RATIO[0] - 0.01 and normal.max() < RATIO[1] + 0.01


def test_spots_are_in_tissue_and_of_every_size():
    normal = torch.zeros(20, 20, 20)
    normal[:5] = 1.0
    spots = [Spot.drawn(normal, VOXEL_MM, rng(seed)) for seed in range(300)]
    assert all(spot.centre[0] < 5.5 for spot in spots)
    log = np.log([spot.radius_mm for spot in spots])
    assert np.exp(log.min()) < 2.2 < 11 < np.exp(log.max())
    assert log.mean() == pytest.approx(np.mean(np.log(RADIUS_MM)), abs=0.15)
    assert Spot.drawn(torch.zeros(20, 20, 20), VOXEL_MM, rng()) is None


def test_a_slice_cuts_a_spot_anywhere():
    normal = torch.ones(40, 40, 1)
    spots = [Spot.drawn(normal, VOXEL_MM, rng(seed)) for seed in range(300)]
    relative = np.array([spot.centre[2] * VOXEL_MM[2] / spot.radius_mm for spot in spots])
    assert np.abs(relative).max() <= 1 and relative.std() == pytest.approx(1 / math.sqrt(3), rel=0.1)


def test_a_displaced_image_is_exact_for_parabolas():
    x, y, z = torch.meshgrid(*(torch.arange(n).float() for n in (12, 13, 14)), indexing="ij")

    def image(x, y, z):
        return 0.1 * x**2 + 0.3 * x * y - 0.2 * z**2 + y

    box = slice(3, 8), slice(4, 9), slice(5, 9)
    by = (0.4, -1.3, 0.75)
    wanted = image(x - by[0], y - by[1], z - by[2])[box]
    torch.testing.assert_close(displaced(image(x, y, z), box, by), wanted, atol=1e-4, rtol=1e-5)
    whole = (slice(0, 12), slice(0, 13), slice(0, 14))
    assert torch.equal(displaced(x, whole, (0.0, 0.0, 0.0)), x)
    assert displaced(x, whole, (-2.0, 0.0, 0.0))[-1].unique().tolist() == [11.0], "the border, repeated"


def test_the_mr_is_displaced_up_to_a_length_and_missing_in_a_fraction():
    n, measured = 400, scan()
    augmentation = Augmentation(mr_shift_mm=3.0, mr_missing=0.25, mr=1)
    patches = Patches([measured], (8, 8, 8), 0, mirror=False, augmentation=augmentation)
    plain = Patches([measured], (8, 8, 8), 0, mirror=False).draw(1, range(n))
    changed = patches.draw(1, range(n))
    assert torch.equal(changed.inputs[:, 0], plain.inputs[:, 0]) and torch.equal(changed.target, plain.target)
    missing = (changed.inputs[:, 1] == 0).flatten(1).all(1)
    assert missing.float().mean().item() == pytest.approx(0.25, abs=5 * (0.1875 / n) ** 0.5)
    middle = (slice(None), 4, 4, 4)
    by_mm = -VOXEL_MM[0] * (changed.inputs[:, 1] - plain.inputs[:, 1])[~missing][middle]
    inner = by_mm[(plain.inputs[:, 1][~missing][middle] - 12).abs() < 6]  # away from the volume's border
    assert inner.abs().max() <= 3.0 and inner.abs().max() > 2.0
    # the first coordinate of a vector of uniform length and direction: variance E[l²] / 3 = 9 / 9
    assert inner.square().mean().item() == pytest.approx(1.0, rel=0.3)
    assert torch.equal(measured.inputs[1], scan().inputs[1]), "the scan itself stays"


def test_a_method_without_mr_draws_nothing_for_it():
    measured = scan()
    without = Augmentation(mr_shift_mm=3.0, mr_missing=0.5)
    changed, plain = (
        Patches([measured], (8, 8, 8), 0, augmentation=a).draw(1, range(5)) for a in (without, None)
    )
    assert torch.equal(changed.inputs, plain.inputs)
    assert torch.equal(changed.noise(), plain.noise()), "the generators are where they were"

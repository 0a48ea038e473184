import math

import pytest
import torch

from csrd.train.patches import Patches, Scan, coordinates
from csrd.train.processes import Processes

SHAPE = (7, 6, 9)


def numbered(shape=SHAPE, dose=1.0, axis=0, offset=0) -> Scan:
    """Return a scan whose every voxel is its own number, as input and, negative, as target."""
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(1, *shape) + offset
    return Scan(numbers, -numbers, dose, left_right=axis)


def drawn(patches: Patches, draws: int):
    """Return inputs, targets and doses of so many patches."""
    batch = patches.draw(1, range(draws))
    return batch.inputs, batch.target, batch.dose


def test_every_voxel_is_reached():
    inputs, target, _ = drawn(Patches([numbered()], (4, 3, 4), 0), 800)
    assert set(inputs.flatten().tolist()) == set(range(7 * 6 * 9))
    assert torch.equal(target, -inputs)
    # each of the 4 · 4 · 6 places and both ways round, with the same chance: 800 / 192 times on average
    assert len({tuple(patch.flatten().tolist()) for patch in inputs}) > 180


def test_scans_places_and_mirror_have_even_chances():
    n = 2000
    scans = [numbered(offset=1000 * i, dose=float(i)) for i in range(4)]
    inputs, _, dose = drawn(Patches(scans, (4, 3, 4), 0), n)
    for i in range(4):
        assert (dose == i).float().mean() == pytest.approx(0.25, abs=5 * (0.1875 / n) ** 0.5)
    assert torch.equal((inputs[:, 0, 0, 0, 0] / 1000).floor(), dose)  # inputs are of the scan they say
    along = inputs[:, 0, 1, 0, 0] > inputs[:, 0, 0, 0, 0]
    assert along.float().mean() == pytest.approx(0.5, abs=5 * (0.25 / n) ** 0.5)
    first = (inputs.amin((1, 2, 3, 4)) % 1000) % 9  # the start along z, 0 … 5
    for z in range(6):
        assert (first == z).float().mean() == pytest.approx(1 / 6, abs=5 * (5 / 36 / n) ** 0.5)


def test_coordinates_stay_what_they_are_beyond_the_end():
    scan = Scan(torch.zeros(1, 4, 5, 6), torch.zeros(1, 4, 5, 6), 0.0, measured=(4, 5, 3))
    inputs, _, _ = drawn(Patches([scan], (4, 5, 6), 0, coordinates=True, mirror=False), 1)
    assert inputs[0, 3, 0, 0].tolist() == [-1, 0, 1, 1, 1, 1]
    torch.testing.assert_close(inputs[0, 2, 0, :, 0], torch.linspace(-1, 1, 5))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrored_coordinates_go_with_the_anatomy(axis):
    # a head that is its own mirror image but for a sign holds its own coordinates: they must agree everywhere
    axes = coordinates(SHAPE, torch.device("cpu"))
    scan = Scan(axes.clone(), axes[axis : axis + 1].clone(), 0.0, left_right=axis)
    inputs, target, _ = drawn(Patches([scan], (4, 3, 4), 0, coordinates=True), 100)
    held, added = inputs[:, :3], inputs[:, 3:]
    mirrored = (held[:, axis] != added[:, axis]).flatten(1).any(1)
    assert 20 < mirrored.sum() < 80
    sign = torch.ones(100, 3)
    sign[mirrored, axis] = -1
    torch.testing.assert_close(held, added * sign[:, :, None, None, None], atol=1e-6, rtol=0)
    assert torch.equal(target[:, 0], held[:, axis])
    for other in {0, 1, 2} - {axis}:  # what lies elsewhere keeps its order
        assert (added[:, other].diff(dim=1 + other) > 0).all()
    assert (added[:, axis].diff(dim=1 + axis) > 0).all()


def test_a_scan_is_never_written_to():
    scan = numbered()
    patches = Patches([scan], (4, 3, 4), 0, coordinates=True)
    batch = patches.draw(1, range(20))
    batch.inputs.zero_()
    assert torch.equal(scan.inputs, numbered().inputs)


def test_without_mirroring_nothing_is_mirrored():
    inputs, _, _ = drawn(Patches([numbered()], (4, 3, 4), 0, mirror=False), 100)
    assert (inputs.diff(dim=2) > 0).all()


def test_coordinates_span_the_volume():
    axes = coordinates((3, 1, 5), torch.device("cpu"))
    assert axes[0, :, 0, 0].tolist() == [-1, 0, 1]
    assert axes[1].abs().max() == 0
    assert axes[2, 0, 0].tolist() == [-1, -0.5, 0, 0.5, 1]
    box = (slice(1, 3), slice(0, 1), slice(2, 4))
    assert torch.equal(coordinates((3, 1, 5), torch.device("cpu"), box), axes[:, *box])


def test_a_patch_depends_on_seed_step_and_number_alone():
    scans = [numbered(), numbered(offset=1000)]
    first = Patches(scans, (4, 3, 4), 5)
    batch = first.draw(7, range(6))
    noise = batch.noise()
    again = Patches(scans, (4, 3, 4), 5)
    torch.manual_seed(123)
    again.draw(6, range(3)).noise()
    for rank in range(4):  # as four processes share them
        share = Processes(rank, 4).part(6)
        part = again.draw(7, share)
        assert torch.equal(part.inputs, batch.inputs[list(share)])
        assert torch.equal(part.target, batch.target[list(share)])
        assert torch.equal(part.noise(), noise[list(share)])
    for other in (first.draw(8, range(6)), Patches(scans, (4, 3, 4), 6).draw(7, range(6))):
        assert not torch.equal(other.inputs, batch.inputs)
    assert len({float(n) for n in noise[:, 0, 0, 0, 0]}) == 6


@pytest.mark.parametrize("batch, count", [(1, 1), (5, 2), (2, 3), (12, 4)])
def test_processes_share_a_batch_without_gap_or_overlap(batch, count):
    shares = [list(Processes(rank, count).part(batch)) for rank in range(count)]
    assert sorted(sum(shares, [])) == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_none_takes_the_whole_axis_and_a_large_patch_is_cut():
    inputs, _, _ = drawn(Patches([numbered()], (None, 1, 64), 0), 40)
    assert inputs.shape == (40, 1, 7, 1, 9)
    assert set(inputs.flatten().tolist()) == set(range(7 * 6 * 9))


def test_noise_is_standard_normal():
    noise = Patches([numbered()], (6, 6, 6), 0).draw(1, range(100)).noise()
    assert noise.shape == (100, 1, 6, 6, 6)
    assert noise.mean() == pytest.approx(0, abs=5 / noise.numel() ** 0.5)
    assert noise.var() == pytest.approx(1, abs=5 * (2 / noise.numel()) ** 0.5)


def thinned(normal: torch.Tensor, drf: int, seed: int, subject: str = "") -> Scan:
    """Return counts `normal` (X, Y, Z) at a dose, drawn by binomial thinning, its target in units of 2 √d."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.binomial(normal, torch.full_like(normal, 1 / drf), generator=generator)
    low, unit = kept * drf, 2 * drf**0.5
    mr = torch.full_like(normal, 7.0)
    return Scan(torch.stack([low, mr]), ((low - normal) / unit)[None], math.log(drf), unit, subject=subject)


def test_mixed_noise_is_that_of_the_dose_it_says():
    # binomial thinning of N counts by d leaves a residual with variance N (d - 1), whichever d it is
    counts = 400.0
    scans = [thinned(torch.full((24, 24, 24), counts), drf, drf) for drf in (4, 6, 8)]
    batch = Patches(scans, (24, 24, 24), 3, mixed=1.0, mixed_beyond=1.5).draw(1, range(60))
    drf = batch.dose.exp()
    assert 3 <= drf.min() < 4 and 8 < drf.max() <= 12
    low, residual = batch.inputs[:, :1], batch.target * (2 * drf**0.5)[:, None, None, None, None]
    torch.testing.assert_close(low - residual, torch.full_like(low, counts), rtol=1e-4, atol=0.01)
    variance = residual.var((1, 2, 3, 4)) / (counts * (drf - 1))
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=0.08, atol=0)
    assert (batch.inputs[:, 1] == 7).all()


def test_only_noise_of_one_subject_is_mixed():
    flat = torch.full((8, 8, 8), 100.0)
    scans = [thinned(flat, 4, 1, "a"), thinned(100 * flat, 4, 2, "b")]
    batch = Patches(scans, (8, 8, 8), 3, mixed=1.0).draw(1, range(40))
    spread = batch.target.std((1, 2, 3, 4))
    bright = batch.inputs[:, 0].mean((1, 2, 3)) > 1000
    assert spread[bright].min() > 5 * spread[~bright].max()


def test_a_share_is_mixed_and_the_rest_is_as_it_was_measured():
    scans = [thinned(torch.full((8, 8, 8), 100.0), drf, drf) for drf in (4, 8)]
    dose = Patches(scans, (8, 8, 8), 3, mixed=0.3).draw(1, range(600)).dose
    pure = torch.isclose(dose.exp(), torch.tensor(4.0)) | torch.isclose(dose.exp(), torch.tensor(8.0))
    assert (~pure).float().mean() == pytest.approx(0.3, abs=5 * (0.21 / 600) ** 0.5)

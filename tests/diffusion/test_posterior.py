import math
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from csrd.diffusion import posterior as module
from csrd.diffusion.posterior import Posterior, halo, padded, tile_that_fits
from csrd.diffusion.precondition import Denoiser
from csrd.diffusion.sampler import Churn, noise_levels
from csrd.train import device as limits

ODD = (75, 3, 67)
CHURN = Churn(S_churn=2, S_noise=1.003)


def bound(denoiser: Denoiser, shape=ODD, *, channels=2, seed=5, tile=None) -> Posterior:
    generator = torch.Generator().manual_seed(11)
    conditions = torch.rand(channels, *shape, generator=generator)
    return Posterior(denoiser, conditions, math.log(4), seed, precision=nullcontext, tile=tile)


@pytest.mark.parametrize("tile", [64, 71])
def test_tiles_give_what_the_whole_gives(small_network, tile):
    denoiser = Denoiser(small_network, 0.5)
    whole, parts = bound(denoiser), bound(denoiser, tile=tile)
    assert whole.tile is None
    sigmas = noise_levels(2, 0.05, 5.0)
    # float32's rounding, which grows on the way through several evaluations
    for one, other, rounding in (
        (whole.mean(), parts.mean(), 1e-5),
        (whole.sample(0, sigmas, CHURN), parts.sample(0, sigmas, CHURN), 1e-4),
    ):
        assert one.shape == other.shape == ODD and one.std() > 0.05
        torch.testing.assert_close(one, other, atol=rounding, rtol=0)


def test_a_halo_short_of_the_receptive_field_is_seen(small_network, monkeypatch):
    monkeypatch.setattr(module, "HALO", 4)
    denoiser = Denoiser(small_network, 0.5)
    difference = bound(denoiser).mean() - bound(denoiser, tile=16).mean()
    assert difference.abs().max() > 1e-2


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 4, 6), (5, 9, 7)])
def test_any_matrix_size_works(small_network, shape):
    out = bound(Denoiser(small_network, 0.5), shape)
    for r in (out.mean(), out.mean_under_noise(10.0), out.sample(1, noise_levels(2, 0.05, 5.0))):
        assert r.shape == shape and r.dtype == torch.float32 and r.isfinite().all()


def test_with_a_mirror_the_mean_is_of_both_views(small_network):
    denoiser, shape = Denoiser(small_network, 0.5), (8, 6, 8)
    conditions = torch.rand(2, *shape, generator=torch.Generator().manual_seed(3))
    made = partial(Posterior, denoiser, dose=math.log(4), seed=1, precision=nullcontext)
    there, back = made(conditions).mean(), made(conditions.flip(1)).mean().flip(0)
    both = made(conditions, mirrored=conditions.flip(1))
    torch.testing.assert_close(both.mean(), (there + back) / 2)
    assert (there - back).abs().max() > 1e-2
    # samples start around that mean
    start = [
        both.sample(0, [1e-3, 0.0], from_mean=True),
        made(conditions).sample(0, [1e-3, 0.0], from_mean=True),
    ]
    assert not torch.equal(*start)


def test_moved_views_are_of_the_same_voxels(small_network):
    denoiser, shape = Denoiser(small_network, 0.5), (8, 6, 7)
    conditions = torch.rand(2, *shape, generator=torch.Generator().manual_seed(3))
    made = partial(Posterior, denoiser, dose=math.log(4), seed=1, precision=nullcontext)
    further = torch.nn.functional.pad(conditions[None], (1, 0) * 3, mode="replicate")[0]
    there, moved = made(conditions).mean(), made(further).mean()[1:, 1:, 1:]
    torch.testing.assert_close(made(conditions, translations=(0, 1)).mean(), (there + moved) / 2)
    assert (there - moved).abs().max() > 1e-2
    both = made(conditions, mirrored=conditions.flip(1), translations=(0, 1))
    back = made(conditions.flip(1), translations=(0, 1)).mean().flip(0)
    torch.testing.assert_close(both.mean(), ((there + moved) / 2 + back) / 2)


def test_growing_repeats_the_last_voxels():
    x = torch.rand(2, 5, 8, 3)
    y = padded(x, 4)
    assert y.shape == (2, 8, 8, 4)
    i, k = torch.arange(8).clamp(max=4), torch.arange(4).clamp(max=2)
    assert torch.equal(y, x[:, i][..., k])
    assert padded(x, 1) is x


def test_a_sample_depends_on_seed_and_number_alone(small_network):
    denoiser, sigmas = Denoiser(small_network, 0.5), noise_levels(3, 0.05, 5.0)
    shape = (8, 6, 7)
    first = bound(denoiser, shape)
    drawn = [first.sample(number, sigmas, CHURN) for number in (0, 1)]
    again = bound(denoiser, shape)
    torch.manual_seed(99)
    again.mean_under_noise(10.0)
    assert torch.equal(again.sample(1, sigmas, CHURN), drawn[1])
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)
    assert not torch.allclose(bound(denoiser, shape, seed=6).sample(0, sigmas, CHURN), drawn[0], atol=1e-3)
    assert torch.equal(first.mean(), again.mean())


def test_samples_of_gaussian_residuals_have_their_variance(ideal):
    shape = (40, 40, 40)
    denoiser = ideal(0.8, 0.5)
    for churn in (None, Churn(S_churn=6)):
        sample = bound(denoiser, shape, channels=1).sample(0, noise_levels(40, 0.002, 40.0), churn)
        assert sample.mean() == pytest.approx(0, abs=5 * 0.8 / 40**1.5)
        assert sample.std() == pytest.approx(0.8, rel=0.02)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_sample_takes_the_evaluations_it_says(ideal, steps):
    denoiser = ideal(0.8, 0.5)
    bound(denoiser, (3, 4, 5), channels=1).sample(0, noise_levels(steps, 0.02, 10.0))
    assert denoiser.network.calls == 2 * steps - 1
    bound(denoiser, (3, 4, 5), channels=1).mean()
    assert denoiser.network.calls == 2 * steps - 1 + 1


def test_the_mean_knows_the_dose_and_the_conditions(zero):
    out = bound(Denoiser(zero, 0.5), (3, 4, 5))
    assert out.mean().abs().max() == 0
    assert zero.x[:, :1].abs().max() == 0 and torch.equal(zero.x[0, 1:], out.conditions[0])
    assert zero.dose.item() == pytest.approx(math.log(4))


def test_the_halo_is_a_multiple_of_the_factor():
    assert [halo(SimpleNamespace(factor=f)) for f in (1, 8, 12, 32)] == [16, 16, 24, 32]


def test_tiles_fill_the_memory_and_no_more(monkeypatch):
    network = SimpleNamespace(factor=8, bytes_per_voxel=100.0)
    monkeypatch.setattr(module, "free_bytes", lambda device: 100.0 * 100**3)
    device = torch.device("cpu")
    assert tile_that_fits(network, (100, 100, 100), device) is None
    assert tile_that_fits(network, (101, 100, 100), device) == 96
    monkeypatch.setattr(module, "free_bytes", lambda device: 1.0)
    assert tile_that_fits(network, (101, 100, 100), device) == 64  # smaller ones would be halo only


def test_memory_that_torch_keeps_for_itself_counts_as_free(monkeypatch):
    # else tiles, and with them the last digits, would depend on what was computed before
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10.0, 100.0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50.0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20.0)
    assert limits.free_bytes(torch.device("cuda")) == pytest.approx(0.9 * 40)


@pytest.mark.parametrize(
    ("line", "file"),
    [("0::/job/step", "job/memory.max"), ("4:memory:/job/step", "memory/job/memory.limit_in_bytes")],
)
def test_a_limit_of_a_container_or_a_job_counts(monkeypatch, tmp_path, line, file):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("1000\n")
    (tmp_path / file).with_name("memory.high").write_text("1\n")
    monkeypatch.setattr(limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(limits, "GROUPS_OF_PROCESS", tmp_path / "mine")
    (tmp_path / "mine").write_text(f"{line}\n")
    assert limits.free_bytes(torch.device("cpu")) == 500
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # all that the node has
    (tmp_path / file).write_text("max\n")
    assert limits.free_bytes(torch.device("cpu")) > 1e8
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4")
    assert limits.free_bytes(torch.device("cpu")) == 2 * 2**20


def test_less_noise_at_the_start_leaves_less_of_a_sample(zero):
    # a network of 0 is the exact denoiser of a Gaussian around 0: the transport is then linear in the noise
    one, sigmas = bound(Denoiser(zero, 0.5), (4, 6, 8)), noise_levels(4, 0.05, 1.0, 3.0)
    sample = one.sample(0, sigmas, from_mean=True)
    torch.testing.assert_close(one.sample(0, sigmas, from_mean=True, start=0.5), sample / 2)
    assert sample.std() > 0.3 and one.sample(0, sigmas, from_mean=True, start=0.0).abs().max() == 0

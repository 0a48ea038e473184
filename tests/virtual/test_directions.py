"""Directions drawn by their bounds against decays that are all followed, and the bounds themselves."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from csrd.io.volume import Volume, centred_affine
from csrd.scanner.geometry import Scanner, hrrt, mmr
from csrd.seeds import seed_sequence
from csrd.virtual.acquire import crystal_efficiencies
from csrd.virtual.decays import Decays
from csrd.virtual.directions import BINS, LEVELS, Choice, _aimed, _thickness, opposite_bins
from csrd.virtual.scatter import DEPTH_SLACK, ScatteredPairs

RADIUS = 70.0  # mm, of a ball of water with a cavity; hot on one side


def decays_of(scanner: Scanner) -> Decays:
    """Return the decays in a ball away from the scanner's centre, with a cavity and bone."""
    shape, voxel = (44, 44, 44), 4.0
    affine = centred_affine(shape, voxel)
    affine[:3, 3] += [15, -10, 30]
    x, y, z = ((np.arange(44) - 21.5) * voxel for _ in range(3))
    square = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2
    mu = np.where(square < RADIUS**2, np.float32(0.096), np.float32(0))
    mu[square > (RADIUS - 8) ** 2] *= np.float32(1.5)
    mu[15:22, 20:30, 10:20] = 0
    hot = np.where(square < (RADIUS - 8) ** 2, np.float32(1e4), np.float32(0)) * (x > 0)[:, None, None]
    efficiencies = crystal_efficiencies(scanner, 1, "sub-01")
    return Decays.of(Volume(hot, affine, "Bq/mL"), Volume(mu, affine, "1/cm"), efficiencies, scanner)


def without_bounds(decays: Decays) -> Decays:
    """Return the same decays, all of which are followed in all directions."""
    table = decays.directions
    nothing = np.zeros_like(table.least)
    everything = replace(table, least=nothing, most=nothing + 30, reaches=np.ones_like(table.reaches))
    return replace(decays, directions=everything)


def chance_of_alike(scanner: Scanner, *samples: np.ndarray) -> float:
    """Return the p-value of one mean behind both samples, by pairs of heads and place along the axis."""
    counts = []
    for pairs in samples:
        heads = pairs // scanner.crystals_per_head
        middle = scanner.crystal_positions[pairs, 2].mean(axis=1)
        along = np.digitize(middle, np.linspace(-100, 100, 7))
        group = (heads[:, 0] * scanner.heads + heads[:, 1]) * 8 // (
            1 if scanner.heads < 10 else 64
        ) * 8 + along
        counts.append(np.bincount(group, minlength=64 * scanner.heads**2))
    one, other = counts
    used = one + other > 20
    square = ((one - other) ** 2 / np.maximum(one + other, 1))[used].sum()
    return float(chi2.sf(square, np.count_nonzero(used)))


@pytest.mark.parametrize("scanner", [hrrt(), mmr()], ids=["HRRT", "mMR"])
def test_pairs_are_those_of_decays_that_are_all_followed(scanner):
    decays = decays_of(scanner)
    plain = without_bounds(decays)
    seconds = 4e6 / plain.decays_per_s
    assert decays.decays_per_s < 0.35 * plain.decays_per_s
    found, expected = (d.follow(seconds, seed_sequence(1, "t"), 1) for d in (decays, plain))
    assert len(expected) > 50_000
    assert len(found) == pytest.approx(len(expected), abs=4 * np.sqrt(2 * len(expected)))
    assert chance_of_alike(scanner, found, expected) > 0.001


@pytest.mark.parametrize("scanner", [hrrt(), mmr()], ids=["HRRT", "mMR"])
def test_scattered_pairs_are_those_of_decays_that_are_all_followed(scanner):
    decays = decays_of(scanner)
    plain = without_bounds(decays)
    seconds = 4e6 / plain.decays_per_s
    (found, times), (expected, plain_times) = (
        ScatteredPairs(d).follow(seconds, seed_sequence(2, "s"), 1) for d in (decays, plain)
    )
    assert len(expected) > 10_000
    assert len(found) == pytest.approx(len(expected), abs=4 * np.sqrt(2 * len(expected)))
    assert chance_of_alike(scanner, found, expected) > 0.001
    single, plain_single = np.count_nonzero(times == 1), np.count_nonzero(plain_times == 1)
    assert single == pytest.approx(plain_single, abs=4 * np.sqrt(2 * plain_single))


def test_the_number_of_pairs_varies_as_that_of_a_poisson_process():
    decays = decays_of(hrrt())
    seconds = 4000 / decays.decays_per_s
    numbers = [len(decays.follow(seconds, seed_sequence(n, "n"), 1)) for n in range(300)]
    assert np.var(numbers, ddof=1) / np.mean(numbers) == pytest.approx(1, abs=4 * np.sqrt(2 / 300))


def test_bounds_hold_but_for_few_lines():
    """Beyond the lower bound pairs count twice; beyond the upper one no photon scatters first."""
    decays = decays_of(hrrt())
    table, rng = decays.directions, np.random.default_rng(0)
    body, opposite = (decays.mu, decays.mu_origin, 1 / decays.mu_voxel), opposite_bins()
    voxels, bins = rng.integers(len(decays.centres), size=20_000), rng.integers(BINS, size=20_000)
    twice, surviving, beyond, interacting = [], [], [], []
    for voxel, bin_ in zip(voxels, bins, strict=True):
        at = decays.centres[voxel] + (rng.random(3) - 0.5) * decays.voxel
        cell, there, fractions = table.cells[voxel], opposite[bin_], rng.random(2)
        path = _thickness(*at, *_aimed(bin_, *fractions), *body)
        most = table.most[cell, bin_] + DEPTH_SLACK
        beyond.append(max(np.exp(-most) - np.exp(-path), 0))
        interacting.append(1 - np.exp(-path))
        if table.reaches[cell, bin_] and table.reaches[cell, there]:
            path += _thickness(*at, *_aimed(there, fractions[0], 1 - fractions[1]), *body)
            bound = np.exp(-table.least[cell, bin_] - table.least[cell, there])
            twice.append(max(np.exp(-path) - bound, 0))
            surviving.append(np.exp(-path))
    assert len(twice) > 3000
    assert np.sum(twice) / np.sum(surviving) < 2e-3
    assert np.sum(beyond) / np.sum(interacting) < 3e-4


def test_a_bin_and_its_opposite_have_opposite_directions():
    middles = np.array([_aimed(bin_, 0.5, 0.5) for bin_ in range(BINS)])
    np.testing.assert_allclose(middles[opposite_bins()], -middles, atol=1e-6)
    assert np.linalg.norm(middles, axis=1) == pytest.approx(1, abs=1e-6)


def test_bins_are_listed_as_often_as_their_bound_is_high():
    bounds = np.zeros((2, BINS))
    bounds[0, :3] = 0.01, 0.5, 1.0
    bounds[1, 7] = 0.51
    choice = Choice.of(bounds)
    assert choice.first.tolist() == [0, 1 + 16 + 32, 1 + 16 + 32 + 17]
    assert np.bincount(choice.entries[:49]).tolist() == [1, 16, 32] and set(choice.entries[49:]) == {7}
    assert (choice.bounds >= bounds).all() and choice.bounds[1, 7] == 17 / LEVELS
    assert choice.fraction == pytest.approx(choice.bounds.mean(axis=1))

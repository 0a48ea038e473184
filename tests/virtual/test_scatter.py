"""Scattered photons against closed forms in a small water sphere, and scatter fractions as published."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode
from csrd.scanner.compton import (
    accepted_cosines,
    attenuation_table,
    klein_nishina,
    scattered_energy,
    window_table,
)
from csrd.scanner.geometry import Scanner, hrrt, mmr
from csrd.seeds import seed_sequence
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import DELAYED, RANDOM, SCATTERED, TRUE, Acquisition, crystal_efficiencies
from csrd.virtual.decays import Decays
from csrd.virtual.scatter import ScatteredPairs, scattering
from csrd.virtual.streams import stream

WATER = 0.0096  # per mm
SCAN = Acquisition(duration_s=2.0, half_life_s=2.0, branching=0.9, randoms_fraction=0.25, scatter=True)


@pytest.fixture(scope="module")
def photons() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cosine to its first direction, energy and scatterings of photons from a sphere's centre."""
    n, voxel, radius = 60, 0.5, 12.0
    axis = (np.arange(n) + 0.5) * voxel - n * voxel / 2
    sphere = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < radius**2
    body = np.where(sphere, np.float32(WATER), np.float32(0)), np.full(3, 1 / voxel), 1 / WATER
    state, centre = stream(1), (n / 2,) * 3
    how = 511.0, 0, body, attenuation_table(), window_table(hrrt()), -1.0
    found = [scattering.leave(state, centre, (0.6, 0.0, 0.8), *how) for _ in range(100_000)]
    ways, energies, times = (np.array([photon[i] for photon in found]) for i in (1, 2, 3))
    return ways @ [0.6, 0, 0.8], energies, times


def test_photons_scatter_as_often_as_the_path_is_long(photons):
    scattered = np.count_nonzero(photons[2]) / len(photons[2])
    assert scattered == pytest.approx(1 - np.exp(-WATER * 12), rel=0.02)
    assert (photons[1][photons[2] == 0] == 511).all()


def test_single_scatter_has_the_angles_of_klein_and_nishina(photons):
    """The law times the chance of leaving without a second scattering, from depths r at an angle θ."""
    cosine, energy, times = (values[photons[2] == 1] for values in photons)
    np.testing.assert_allclose(energy, scattered_energy(cosine), rtol=1e-5)
    edges, r = np.linspace(-1, 1, 2001), (np.arange(60)[:, None] + 0.5) / 5
    middle = (edges[1:] + edges[:-1]) / 2
    path = np.sqrt(144 - r**2 * (1 - middle**2)) - r * middle
    mu = WATER * attenuation_table()[np.round(scattered_energy(middle)).astype(int)]
    density = klein_nishina(middle) * np.exp(-WATER * r - mu * path).mean(0)
    law = np.append(0, np.cumsum(density) / density.sum())
    assert len(times) > 9000
    assert kstest(cosine, lambda x: np.interp(x, edges, law)).pvalue > 0.01


def test_later_scatterings_follow_the_law_at_the_lower_energy():
    state = stream(1)
    cosines, energies = np.array([scattering.scattered(state, 400.0) for _ in range(50_000)]).T
    edges = np.linspace(-1, 1, 2001)
    density = klein_nishina((edges[1:] + edges[:-1]) / 2, 400.0)
    law = np.append(0, np.cumsum(density) / density.sum())
    np.testing.assert_allclose(energies, scattered_energy(cosines, 400.0), rtol=1e-12)
    assert kstest(cosines, lambda x: np.interp(x, edges, law)).pvalue > 0.01


@pytest.mark.parametrize("way", [(0.6, 0.0, 0.8), (0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (-0.48, 0.6, 0.64)])
def test_a_turned_direction_is_a_unit_vector_at_its_angle(way):
    for azimuth in np.linspace(0, 6, 7):
        turned = np.array(scattering.turned(*way, 0.3, np.cos(azimuth), np.sin(azimuth)))
        assert np.linalg.norm(turned) == pytest.approx(1, abs=1e-9)
        assert turned @ way == pytest.approx(0.3, abs=1e-9)


def test_a_first_scattering_has_the_depth_and_the_angle_of_its_laws():
    """In a slab of 60 mm that no scattered photon meets again: an exponential law, cut at the slab's end."""
    mu = np.zeros((50, 50, 50), np.float32)
    mu[:, :, 10:40] = WATER
    cosines, _ = accepted_cosines(hrrt())
    body = mu, np.array([-50.0, -50.0, 0.0]), np.full(3, 1 / 2.0)
    tables = cosines, np.full(512, 1e-9), window_table(hrrt())
    state, within, number = stream(1), 0.6, 40_000
    how = within, body, 1 / WATER, tables, -1.0
    found = [scattering.scatters(state, (0.0, 0.0, 20.0), (0.0, 0.0, 1.0), *how) for _ in range(number)]
    depths, turns = np.array([(at[2] - 20, way[2]) for at, way, _, times in found if times == 1]).T
    interacting = 1 - np.exp(-WATER * 60)
    assert len(depths) / number == pytest.approx(interacting / within, rel=0.02)
    assert kstest(depths, lambda z: (1 - np.exp(-WATER * z)) / interacting).pvalue > 0.01
    assert kstest(turns, lambda c: np.searchsorted(cosines, c) / len(cosines)).pvalue > 0.01
    assert {share for _, _, share, times in found if times == 1} == {1.0}


def nema_line_source(scanner: Scanner) -> Decays:
    """Return the scatter phantom of NEMA NU 2-2001: a line 45 mm below a cylinder's axis, 20 × 70 cm."""
    shape, voxel = (54, 54, 176), 4.0
    affine = centred_affine(shape, voxel)
    x, y, z = (affine[i, 3] + np.arange(shape[i]) * voxel for i in range(3))
    cylinder = (x[:, None, None] ** 2 + y[:, None] ** 2 < 101.5**2) & (abs(z) < 350)
    line = np.zeros(shape, np.float32)
    line[len(x) // 2, np.argmin(abs(y + 45)), abs(z) < 350] = 1e4
    volumes = Volume(line, affine, "Bq/mL"), Volume(cylinder * np.float32(0.096), affine, "1/cm")
    return Decays.of(*volumes, np.ones(scanner.crystals, np.float32), scanner)


@pytest.mark.parametrize(
    ("scanner", "low", "high"),
    [(hrrt(), 0.42, 0.54), (mmr(), 0.32, 0.40)],  # HRRT as published for 400–650 keV; mMR published: 0.38
    ids=["HRRT", "mMR"],
)
def test_scatter_fraction_of_the_nema_cylinder_is_as_published(scanner, low, high):
    """Lines within 12 cm of the axis count. Nothing is tuned; the gantry's own scatter is not simulated."""
    decays = nema_line_source(scanner)
    seconds = 3e5 / decays.decays_per_s
    trues = decays.follow(seconds, seed_sequence(1, "t"), 1)
    scattered, times = ScatteredPairs(decays).follow(seconds, seed_sequence(1, "s"), 1)
    assert (times >= 1).all() and 0.1 < (times > 1).mean() < 0.3

    def near(pairs: np.ndarray) -> int:
        a, b = (scanner.crystal_positions[pairs[:, side], :2].astype(float) for side in (0, 1))
        way = b - a
        return np.count_nonzero(
            abs(a[:, 0] * way[:, 1] - a[:, 1] * way[:, 0]) < 120 * np.hypot(way[:, 0], way[:, 1])
        )

    fraction = near(scattered) / (near(scattered) + near(trues))
    assert low < fraction < high


def test_energy_window_decides_how_much_scatter_is_recorded():
    """Photons of single scatter have 511 / (2 − cos θ) keV: none is left above 505 keV but by the blur."""
    found = {}
    for low in (300.0, 400.0, 505.0):
        decays = nema_line_source(replace(hrrt(), energy_window_keV=(low, 650.0), energy_fwhm=0.01))
        pairs, _ = ScatteredPairs(decays).follow(5e4 / decays.decays_per_s, seed_sequence(1, "w"), 1)
        found[low] = len(pairs)
    assert found[300.0] > 1.5 * found[400.0] > 10 * found[505.0]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Return the folder, counts and kinds of scans with scatter, by 1 and 3 threads, and without."""
    folder, counts, kinds = tmp_path_factory.mktemp("scan"), {}, {"1": [], "3": [], "none": []}
    shape, voxel = (30, 30, 30), 4.0
    grid = Volume(np.zeros(shape, np.float32), centred_affine(shape, voxel))
    axis = (np.arange(30) - 14.5) * voxel
    ball = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 55**2).astype(np.float32)
    efficiencies = crystal_efficiencies(hrrt(), 1, "sub-01")
    images = grid.like(ball * 4e3, "Bq/mL"), grid.like(ball * np.float32(0.096), "1/cm"), efficiencies
    for name in kinds:
        scan = SCAN if name != "none" else Acquisition(2.0, 2.0, 0.9, 0.25)
        threads = int(name) if name != "none" else 1
        how = hrrt(), scan, 1, "sub-01", threads
        counts[name] = write_scan(folder / f"{name}.l64", *images, *how, kinds=kinds[name])
    return folder, counts, {name: np.concatenate(parts) for name, parts in kinds.items()}


def test_threads_do_not_change_the_file(scans):
    assert (scans[0] / "1.l64").read_bytes() == (scans[0] / "3.l64").read_bytes()


def test_scatter_is_added_to_the_same_trues(scans):
    _, counts, _ = scans
    assert counts["1"]["trues"] == counts["none"]["trues"] and counts["none"]["scattered"] == 0
    assert 0.15 < counts["1"]["scattered"] / (counts["1"]["scattered"] + counts["1"]["trues"]) < 0.35


def test_randoms_are_a_fraction_of_all_prompts(scans):
    counts = scans[1]["1"]
    assert counts["prompts"] == counts["trues"] + counts["scattered"] + counts["random_prompts"]
    assert counts["random_prompts"] / counts["prompts"] == pytest.approx(0.25, abs=0.01)


def test_kinds_are_those_of_the_events_in_the_files_order(scans):
    folder, counts, kinds = scans
    blocks = list(open_listmode(folder / "1.l64").blocks())
    prompt = np.concatenate([block.prompt for block in blocks])
    kind = kinds["1"]
    assert len(kind) == len(prompt) and (prompt == (kind != DELAYED)).all()
    for name, number in ((TRUE, "trues"), (SCATTERED, "scattered"), (RANDOM, "random_prompts")):
        assert np.count_nonzero(kind[prompt] == name) == counts["1"][number]
    crystals = np.concatenate([block.crystals for block in blocks])
    distance = {}
    for name in (TRUE, SCATTERED):
        a, b = (hrrt().crystal_positions[crystals[kind == name][:, side], :2] for side in (0, 1))
        way = (b - a) / np.linalg.norm(b - a, axis=1)[:, None]
        distance[name] = abs(a[:, 0] * way[:, 1] - a[:, 1] * way[:, 0])
    assert (distance[TRUE] < 60).all() and (distance[SCATTERED] > 60).mean() > 0.02

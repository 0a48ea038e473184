"""What is exported: each record's factors in closed form, and the programs' own orders of crystals."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from csrd.config.sections import Recon
from csrd.engines.castor import CASTOR
from csrd.engines.model import EngineModel
from csrd.engines.stir import NEVER, SEGMENTS, Lines, Segment, _bins, _counts, _factors, write_stir
from csrd.engines.yrt import YRT, ring_order
from csrd.errors import InputError
from csrd.io.interfile_image import read_interfile
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import EventBlock, open_listmode, thin, write_hrrt
from csrd.listmode.mmr_bins import BINS, RING_PLANE, VIEWS, coincide, crystals_of
from csrd.listmode.timing import Timing
from csrd.recon.corrections import attenuation_factors
from csrd.recon.scatter import table_shape
from csrd.scanner.geometry import hrrt, mmr
from csrd.scanner.response import blur, line_factors
from csrd.seeds import generator
from csrd.stages.export import export

SHAPE, VOXEL = (14, 15, 16), 20.0
SENSITIVITY, SIGMA = 0.25, 30.0
SCATTER = 1e-10  # on lines of the first pair of heads, about as many as randoms on those of the last
DEAD = 5  # a crystal that detects nothing


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return the folder of a thinned HRRT scan exported to both programs, and its counts."""
    folder, draw = tmp_path_factory.mktemp("export"), generator(1, "export")
    crystals = draw.integers(14_976, size=(6000, 2), dtype=np.uint32) + np.uint32([0, 4 * 14_976])
    crystals[:10, 0] = DEAD
    segment = crystals, draw.random(6000) < 0.7, np.sort(draw.integers(100, size=6000, dtype=np.uint32))
    header = {"image duration": 0.1, "isotope halflife": 1224, "branching factor": 0.9}
    write_hrrt(folder / "whole.l64", [segment], header)
    thin(folder / "whole.l64", folder / "scan.l64", drf=2, seed=1)
    sensitivity = np.full(SHAPE, SENSITIVITY, np.float32)
    Volume(sensitivity, centred_affine(SHAPE, VOXEL), "mm3").save(folder / "sens.nii.gz")
    mu = np.zeros(SHAPE, np.float32)
    mu[5:9, 5:10, 4:12] = 0.09
    Volume(mu, centred_affine(SHAPE, VOXEL), "1/cm").save(folder / "mu.nii.gz")
    efficiencies = draw.uniform(0.4, 0.6, hrrt().crystals).astype(np.float32)
    efficiencies[DEAD] = 0
    np.save(folder / "eff.npy", efficiencies)
    psf = {"sigma_mm": SIGMA, "tail_fraction": 0.3}
    files = {name: folder / f"{name}.nii.gz" for name in ("mu", "sens")}
    counts = [
        export(
            folder / "scan.l64",
            folder / name,
            recon=Recon(matrix=SHAPE, voxel_mm=VOXEL, psf=psf, scatter="none"),
            seed=1,
            subject="sub-01",
            threads=1,
            mumap=files["mu"],
            normalisation=folder / "eff.npy",
            sensitivity=files["sens"],
        )
        for name in ("a.Cdh", "b.lmDat")
    ]
    return folder, counts


@pytest.fixture(scope="module")
def truth(exported):
    """Return prompts and times, and the factors of their lines, computed one by one."""
    folder, _ = exported
    listmode, scanner = open_listmode(folder / "scan.l64"), hrrt()
    block = next(listmode.blocks())
    efficiencies = np.load(folder / "eff.npy")
    seen = block.prompt & (efficiencies[block.crystals] > 0).all(axis=1)
    crystals = block.crystals[seen]
    ends = scanner.crystal_positions[crystals].swapaxes(0, 1)
    mumap = Volume.load(folder / "mu.nii.gz", unit="1/cm")
    exposure = Timing.of(listmode).effective_s * 1e-3 / 2  # mL per mm³, thinned by 2
    detected = line_factors(scanner, crystals) * efficiencies[crystals].prod(axis=1)
    return block.time_ms[seen], crystals, detected, attenuation_factors(mumap, *ends), exposure


def test_castors_records_make_its_model_ours(exported, truth):
    folder, (counts, _) = exported
    ms, crystals, detected, attenuation, exposure = truth
    records = np.fromfile(folder / "a.Cdf", CASTOR)
    assert len(records) == counts["prompts"] == len(ms) > 0 and not (records["crystals"] == DEAD).any()
    assert (records["crystals"] == crystals).all() and (records["ms"] == ms).all()
    header = dict(line.split(": ") for line in (folder / "a.Cdh").read_text().splitlines())
    assert header["Number of events"] == str(len(ms)) and header["Duration (s)"] == "0.1"
    for kind in ("Attenuation", "Normalization", "Random"):
        assert header[f"{kind} correction flag"] == "1"
    # CASToR: counts = ∫ x dl · duration / (attenuation · norm), plus the rate times the duration
    per_unit = 0.1 / (records["attenuation"].astype(float) * records["norm"])
    np.testing.assert_allclose(per_unit, exposure * detected * attenuation, rtol=1e-5)
    lines = len(hrrt().head_pairs) * hrrt().crystals_per_head ** 2
    # As many randoms as delayeds, were all lines summed; here all are between two of the heads
    assert counts["delayeds"] / lines < records["background_per_s"].mean() * 0.1 < 1
    assert (folder / "csrd_HRRT.hscan").is_file()


def test_yrts_records_are_divided_by_the_lines_factors(exported, truth):
    folder, (_, counts) = exported
    ms, crystals, detected, attenuation, exposure = truth
    records = np.fromfile(folder / "b.lmDat", YRT)
    assert len(records) == counts["prompts"] == len(ms) and (records["ms"] == ms).all()
    rates = np.fromfile(folder / "a.Cdf", CASTOR)["background_per_s"].astype(float)
    background = rates * 0.1 / (exposure * detected * attenuation)
    np.testing.assert_allclose(records["background"], background, rtol=1e-5)
    scanner = json.loads((folder / "scanner.json").read_text())
    table = np.fromfile(folder / scanner["detCoord"], "<f4").reshape(-1, 6)
    assert len(table) == scanner["detsPerRing"] * scanner["numRings"] * scanner["numDOI"]
    np.testing.assert_array_equal(table[records["crystals"], :3], hrrt().crystal_positions[crystals])
    assert 0 < scanner["maxRingDiff"] < scanner["numRings"] and scanner["minAngDiff"] % 2 == 0


@pytest.mark.parametrize("scanner", [hrrt(), mmr()], ids=["HRRT", "mMR"])
def test_yrts_order_is_layer_ring_and_place_round_the_ring(scanner):
    order = ring_order(scanner)
    assert np.array_equal(np.sort(order), np.arange(scanner.crystals))
    places = scanner.heads * scanner.columns
    at = scanner.crystal_positions[order].reshape(scanner.layers, scanner.rings, places, 3)
    assert np.ptp(at[..., 2], axis=2).max() == 0 and (np.diff(at[..., 2], axis=1) > 0).all()
    radii = np.linalg.norm(at[..., :2], axis=-1).mean(axis=(1, 2))
    assert (np.diff(radii) > 0).all()
    angles = np.unwrap(np.arctan2(at[0, 0, :, 0], at[0, 0, :, 1]))
    assert (np.diff(angles) > 0).all() and np.ptp(angles) < 2 * np.pi


def test_the_sensitivity_is_in_counts_and_blurred_by_the_core(exported, truth):
    folder, exposure = exported[0], truth[-1]
    expected = blur(np.full(SHAPE, SENSITIVITY * exposure, np.float32), [VOXEL] * 3, SIGMA, 0, 0)
    castor = read_interfile(folder / "sensitivity.hdr", "RAS")
    yrt = Volume.load(folder / "sensitivity.nii.gz")
    for volume in (castor, yrt):
        np.testing.assert_allclose(volume.array, expected, rtol=1e-4)
        np.testing.assert_allclose(volume.affine, centred_affine(SHAPE, VOXEL))
    start = Volume.load(folder / "initial.nii.gz")
    assert (start.array * yrt.array).sum() == pytest.approx(len(truth[0]), rel=0.02), "but for its edge"
    assert np.array_equal(read_interfile(folder / "initial.hdr", "RAS").array, start.array)
    kernels = np.loadtxt(folder / "psf.csv", delimiter=",")
    length = int(kernels[3, 0])
    assert length % 2 and (kernels[3, :3] == length).all()
    steps = (np.arange(length) - length // 2) * VOXEL
    np.testing.assert_allclose(kernels[:3, :length].sum(axis=1), 1)
    assert kernels[0, :length] @ steps**2 == pytest.approx(SIGMA**2, rel=0.01)


def test_scatter_of_the_normal_dose_is_part_of_the_background(exported, truth):
    folder, scanner = exported[0], hrrt()
    _, crystals, *_ = truth
    grid = Volume.load(folder / "sens.nii.gz")
    efficiencies, listmode = np.load(folder / "eff.npy"), open_listmode(folder / "scan.l64")
    arguments = listmode, scanner, grid, efficiencies, grid, 2, 0.0
    table = np.full(table_shape(scanner), 1e-3, np.float32)
    with_it, without = EngineModel.of(*arguments, table), EngineModel.of(*arguments)
    added = with_it.background(crystals) - without.background(crystals)
    np.testing.assert_allclose(added, 1e-3 / 2 * efficiencies[crystals].prod(axis=1), rtol=1e-3)


def test_another_suffix_and_another_scanner_are_refused(exported, tmp_path):
    folder, _ = exported
    settings = {
        "recon": Recon(matrix=SHAPE, voxel_mm=VOXEL, scatter="none"),
        "seed": 1,
        "subject": "sub-01",
        "threads": 1,
    }
    with pytest.raises(InputError, match=r"end it in .Cdh \(CASToR\), .lmDat \(YRT-PET\) or .hs \(STIR\)"):
        export(folder / "scan.l64", tmp_path / "a.txt", **settings)
    with pytest.raises(InputError, match="give a μ-map"):
        export(folder / "scan.l64", tmp_path / "a.Cdh", **settings)
    of_scan = {"mumap": folder / "mu.nii.gz", "sensitivity": folder / "sens.nii.gz"}
    with pytest.raises(InputError, match="for the Siemens Biograph mMR only, not for the HRRT"):
        export(folder / "scan.l64", tmp_path / "a.hs", **settings, **of_scan)


def test_the_segments_hold_every_pair_of_rings_once():
    pairs = [
        rings
        for segment in SEGMENTS
        for position in range(segment.positions)
        for rings in segment.rings(position)
    ]
    reached = [(a, b) for a in range(64) for b in range(64) if abs(a - b) <= 60]
    assert len(pairs) == len(set(pairs)) and set(pairs) == set(reached)
    assert [segment.positions for segment in SEGMENTS] == [27, 49, 71, 93, 115, 127, 115, 93, 71, 49, 27]
    assert max(len(Segment(-5, 5).rings(position)) for position in range(127)) == 6


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a scan of the mMR for STIR, with efficiencies and rates that differ from crystal to crystal.

    Its scatter differs from one pair of heads to the next.
    """
    draw, scanner = generator(1, "stir"), mmr()
    mu = np.zeros((20, 21, 127), np.float32)
    mu[6:14, 7:15] = 0.09
    affine = np.diag([16.0, 16.0, 4.0625 / 2, 1])
    affine[:3, 3] = -(np.array(mu.shape) - 1) / 2 * np.diag(affine)[:3]
    mumap = Volume(mu, affine, "1/cm")
    efficiencies = draw.uniform(0.4, 0.6, scanner.crystals).astype(np.float32)
    rates = draw.uniform(1e-4, 2e-4, scanner.crystals)
    timing = Timing(2, 6586, 0.97)
    scatter = np.empty(table_shape(scanner), np.float32)
    scatter[...] = SCATTER * np.arange(1, len(scatter) + 1).reshape(-1, *[1] * (scatter.ndim - 1))
    return EngineModel(None, scanner, mumap, efficiencies, mumap, rates, 0.01, timing, 0, 0, 0, scatter)


def test_a_bin_of_stirs_adds_the_factors_of_its_lines(model):
    segment, number = SEGMENTS[-1], len(SEGMENTS) - 1
    factors, background = _factors(segment, Lines.of(model.scanner), model)
    assert factors.shape == background.shape == (VIEWS, segment.positions, BINS)
    draw, positions, checked = generator(1, "bins"), model.scanner.crystal_positions, 0
    for view, position, place in zip(*(draw.integers(n, size=60) for n in factors.shape), strict=True):
        lines = []
        for rings in segment.rings(int(position)):
            address = (RING_PLANE[rings] * VIEWS + view) * BINS + place
            lines.append(crystals_of(address))
        if lines[0][0] < 0 or not coincide(*lines[0]):
            assert factors[view, position, place] == NEVER and background[view, position, place] == 0
            continue
        lines = np.array(lines)
        detected = (line_factors(model.scanner, lines) * model.efficiencies[lines].prod(axis=1)).sum()
        ends = positions[lines].mean(axis=0, keepdims=True).swapaxes(0, 1)
        per_voxel = 0.01 * model.sensitivity.voxel_mm[0]  # STIR's lengths are in voxels
        expected = 1 / (per_voxel * detected * attenuation_factors(model.mumap, *ends)[0])
        assert factors[view, position, place] == pytest.approx(expected, rel=1e-4)
        heads = np.sort(lines[0] // model.scanner.crystals_per_head)
        pair = np.flatnonzero((model.scanner.head_pairs == heads).all(axis=1))[0]
        randoms = model.rates[lines].prod(axis=1).sum()
        scattered = SCATTER * (pair + 1) * model.efficiencies[lines].prod(axis=1).sum()
        assert background[view, position, place] == pytest.approx((randoms + scattered) * expected, rel=1e-4)
        # An event on one of the lines is counted there
        block = EventBlock(lines[:1].astype(np.uint32), np.ones(1, bool), np.zeros(1, np.uint32))
        counts = _counts(_bins(iter([block])), number)
        assert counts[view, position, place] == counts.sum() == 1
        checked += 1
    assert checked > 20


def test_stirs_first_image_is_in_the_words_that_stir_reads(model, tmp_path, monkeypatch):
    monkeypatch.setattr("csrd.engines.stir.SEGMENTS", SEGMENTS[-1:])  # the shortest, for time
    empty = SimpleNamespace(blocks=lambda: iter(()))
    write_stir(tmp_path / "events.hs", replace(model, listmode=empty, prompts=100))
    header = (tmp_path / "initial.hv").read_text()
    assert "!number format := float" in header.splitlines(), "STIR refuses CASToR's short float"
    image = read_interfile(tmp_path / "initial.hv", "LPI")
    assert image.shape == model.sensitivity.shape and np.ptp(image.array) == 0 < image.array.max()
    sizes = {
        name: (tmp_path / f"{name}.s").stat().st_size for name in ("events", "multiplicative", "background")
    }
    assert set(sizes.values()) == {4 * VIEWS * SEGMENTS[-1].positions * BINS}

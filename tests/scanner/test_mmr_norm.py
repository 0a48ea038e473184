"""The mMR's own normalisation: order of its components, its crystals' turn, its calibration."""

from dataclasses import replace

import numpy as np
import pytest

from csrd.config.sections import MmrNorm
from csrd.errors import InputError
from csrd.io.normalisation import copy_norm, is_norm, read_norm
from csrd.listmode import mmr_bins
from csrd.scanner.geometry import mmr
from csrd.scanner.mmr_norm import PHASES, SHAPES, SINOGRAMS, VALUES, Norm, normalised
from csrd.scanner.response import line_factors
from csrd.seeds import generator
from tests.siemens_files import PERFECT, norm_pair, perfect_norm, raw_dicom


def random_norm(seed: int = 1) -> Norm:
    draw = generator(seed, "norm")
    return Norm.of(draw.uniform(0.5, 2, VALUES).astype(np.float32), quantification=2e7)


def detected(scanner, lines: np.ndarray) -> np.ndarray:
    """Return the efficiency of lines, factors and crystals together."""
    return scanner.measured_factors(lines) * scanner.efficiencies[lines].prod(1)


def test_components_are_in_the_files_order(tmp_path):
    values = np.arange(VALUES, dtype=np.float32)
    norm_pair(values, tmp_path / "norm.dcm", 2.5e7)
    for path in ("norm.dcm", "norm.bf"):
        found, quantification = read_norm(tmp_path / path, VALUES)
        assert (found == values).all() and quantification == 2.5e7
    norm = Norm.of(found, quantification)
    assert VALUES == 80_851 and (tmp_path / "norm.bf").stat().st_size == 323_404
    assert norm.geometric[1, 0] == 344 and norm.interference[1, 0] == 127 * 344 + 9
    assert norm.efficiencies[1, 0] == 127 * 344 + 344 * 9 + 504
    assert norm.axial[0] == 127 * 344 + 344 * 9 + 64 * 504
    assert norm.ring_paralysing[0] == norm.axial[0] + 837 and norm.axial_2[-1] == VALUES - 1
    assert (norm.values == values).all()


def test_a_copy_is_in_the_form_that_other_tools_read(tmp_path):
    norm_pair(random_norm().values, tmp_path / "norm.dcm", 2.5e7)
    copy_norm(tmp_path / "norm.bf", tmp_path / "out" / "norm.n", VALUES)
    assert (tmp_path / "out" / "norm.n").read_bytes() == (tmp_path / "norm.bf").read_bytes()
    assert read_norm(tmp_path / "out" / "norm.n", VALUES)[1] == 2.5e7
    assert all(map(is_norm, ("a/norm.n", "a/norm.dcm", "a/norm.bf"))) and not is_norm("eff.npy")


def test_sinograms_of_span_11_are_those_of_the_segment_table():
    first = 0
    for number, planes in enumerate([127, 115, 115, 93, 93, 71, 71, 49, 49, 27, 27]):
        here = np.isin(SINOGRAMS, range(first, first + planes))
        rings = np.argwhere(here)
        difference = rings[:, 1] - rings[:, 0]
        assert len(np.unique(SINOGRAMS[here])) == planes
        low = abs(difference).min(), abs(difference).max()
        assert low == (
            (0, 5) if number == 0 else (11 * ((number + 1) // 2) - 5, 11 * ((number + 1) // 2) + 5)
        )
        if number:
            assert (np.sign(difference) == (-1 if number % 2 else 1)).all()
        sums = rings.sum(1)
        assert (SINOGRAMS[here] - first == sums - sums.min()).all()
        first += planes
    assert first == 837 and (SINOGRAMS[abs(np.subtract.outer(np.arange(64), np.arange(64))) > 60] == -1).all()


def test_a_lines_factor_is_the_product_of_its_components():
    norm, draw = random_norm(), generator(1, "lines")
    addresses = draw.integers(mmr_bins.ADDRESSES, size=400)
    lines = [(*mmr_bins.crystals_of(address), address) for address in addresses]
    lines = [line for line in lines if line[0] >= 0 and mmr_bins.coincide(*line[:2])]
    crystals = np.array(lines)[:, :2]
    efficiencies = norm.crystal_efficiencies(1)
    for multiply in (False, True):
        found = norm.factors(3.0, multiply)(crystals) * efficiencies[crystals].prod(1)
        swapped = norm.factors(3.0, multiply)(crystals[:, ::-1])
        assert (swapped == norm.factors(3.0, multiply)(crystals)).all()
        for (_, _, address), value in zip(lines, found, strict=True):
            at, view = address % 344, address // 344 % 252
            ring_a, ring_b = mmr_bins.PLANE_RINGS[address // 344 // 252]
            t = at - 172
            a, b = (view + (t >> 1)) % 504, (view + 252 - ((t + 1) >> 1)) % 504
            axial = norm.axial[SINOGRAMS[ring_a, ring_b]] if SINOGRAMS[ring_a, ring_b] >= 0 else 1.0
            expected = norm.efficiencies[ring_a, a - 1] * norm.efficiencies[ring_b, b - 1]
            expected *= norm.geometric[ring_a + ring_b, at] * norm.interference[at, view % 9]
            expected *= 3 * (axial if multiply else 1 / axial)
            assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("gap", "turn"), [(8, 1), (0, 0)])
def test_marked_gap_crystals_settle_the_turn(gap, turn):
    norm = random_norm()
    norm.efficiencies[:, gap::PHASES] = 0
    assert norm.marked_turn == turn
    scanner, notes = normalised(mmr(), norm, MmrNorm())
    assert scanner.efficiencies.min() > 0, "no crystal has the gaps' value"
    assert notes["NormalisationTurn"] == f"{turn}, by the gap crystals that the normalisation marks"
    with pytest.raises(InputError, match=f"turn is {1 - turn}, but"):
        normalised(mmr(), norm, MmrNorm(turn=1 - turn))


@pytest.mark.parametrize("turn", [0, 1])
def test_without_marks_the_turn_is_called_unverified_and_can_be_set(turn):
    norm = random_norm()
    assert norm.marked_turn is None
    scanner, notes = normalised(mmr(), norm, MmrNorm(turn=turn))
    assert np.ptp(scanner.efficiencies / norm.crystal_efficiencies(turn)) < 1e-5
    assert "not verified" in notes["NormalisationTurn"]
    assert "not verified" in normalised(mmr(), norm, MmrNorm())[1]["NormalisationTurn"]
    alone = normalised(mmr(), norm, MmrNorm())[0].efficiencies
    assert np.ptp(alone / norm.crystal_efficiencies(1)) < 1e-5


def test_the_perfect_norm_is_the_computed_solid_angle():
    """Within 8 % on single lines through the head, and 1 % on their average, in mm²."""
    scanner, notes = normalised(mmr(), perfect_norm(), MmrNorm())
    draw = generator(2, "lines")
    addresses = draw.integers(mmr_bins.ADDRESSES, size=60_000)
    addresses = addresses[abs(addresses % 344 - 172) < 50]
    lines = np.array([mmr_bins.crystals_of(address) for address in addresses])
    lines = lines[(lines >= 0).all(1)]
    ratio = detected(scanner, lines) / line_factors(mmr(), lines)
    assert abs(ratio - 1).max() < 0.08 and ratio.mean() == pytest.approx(1, abs=0.01)
    assert notes["NormalisationCalibration"] == f"scanner quantification factor {PERFECT:g}"


def test_a_scale_that_no_scanner_has_is_noted():
    norm = replace(perfect_norm(), quantification=PERFECT / 1000)
    assert "not plausible" in normalised(mmr(), norm, MmrNorm())[1]["NormalisationCalibration"]
    scanner, notes = normalised(mmr(), replace(norm, quantification=None), MmrNorm())
    assert "relative" in notes["NormalisationCalibration"]


def test_dead_time_by_rings():
    """With the non-paralysing part alone the live fraction is 1 / (1 + rate/2 · dead time)."""
    norm = random_norm()
    norm.ring_paralysing[:] = 0
    norm.ring_non_paralysing[:] = np.linspace(1e-6, 2e-6, 64)
    rate = 224 * 1e5
    assert norm.live(rate) == pytest.approx(1 / (1 + 0.5e5 * np.linspace(1e-6, 2e-6, 64)), rel=1e-6)
    plain, corrected = (normalised(mmr(), norm, MmrNorm(), singles)[0] for singles in (None, rate))
    facing = np.arange(64)[:, None] * 8 + np.array([0, 28 * 512])  # both in one ring
    ratio = detected(corrected, facing) / detected(plain, facing)
    assert ratio[::-1] == pytest.approx(norm.live(rate) ** 2, rel=1e-4), "rings count from the head"


@pytest.mark.parametrize("component", ["geometric", "interference", "axial", "efficiencies"])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_impossible_components_are_one_sentence(component, value):
    norm = random_norm()
    getattr(norm, component).flat[1] = value
    with pytest.raises(InputError, match="negative"):
        normalised(mmr(), norm, MmrNorm())


def test_wrong_files_are_one_sentence(tmp_path):
    pair = norm_pair(random_norm().values, tmp_path / "norm.dcm", 2e7)
    pair.with_suffix(".bf").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match="has 100 bytes, but its header in norm.dcm says 323404"):
        read_norm(pair, VALUES)
    raw_dicom(tmp_path / "scan.dcm", "PET_LISTMODE", "!INTERFILE:=")
    with pytest.raises(InputError, match="is list-mode, not a normalisation"):
        read_norm(tmp_path / "scan.dcm", VALUES)
    norm_pair(random_norm().values, tmp_path / "bad.dcm", -1.0)
    with pytest.raises(InputError, match="give a positive number"):
        read_norm(tmp_path / "bad.dcm", VALUES)
    assert SHAPES["geometric"] == (127, 344)

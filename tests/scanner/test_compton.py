"""Compton scattering against integrals, limits and tabulated values; the energy window."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from csrd.scanner import compton
from csrd.scanner.geometry import hrrt, mmr

RADIUS_SQUARED = 0.0794078  # of the electron, in barn


@pytest.mark.parametrize("energy", [50.0, 307.0, 511.0, 2000.0])
def test_the_total_is_the_integral_over_all_angles(energy):
    integral = 2 * np.pi * quad(lambda cosine: compton.klein_nishina(cosine, energy), -1, 1)[0]
    assert compton.cross_section(energy) == pytest.approx(integral, rel=1e-9)


def test_it_is_thomsons_at_low_energy_and_the_tabulated_one_at_511_kev():
    assert compton.cross_section(0.1) == pytest.approx(8 * np.pi / 3, rel=1e-3)
    assert compton.cross_section(511.0) * RADIUS_SQUARED == pytest.approx(0.28654, rel=1e-4)
    assert compton.klein_nishina(1.0) == 1 and compton.klein_nishina(0.0, 1e-3) == pytest.approx(
        0.5, rel=1e-4
    )


def test_energy_after_scattering_at_three_angles():
    np.testing.assert_allclose(compton.scattered_energy(np.array([1, 0, -1.0])), [511, 255.5, 511 / 3])


def test_tissue_attenuates_more_at_lower_energies():
    """Water: 0.0960 /cm at 511 keV, 0.1061 at 400 keV and 0.1186 at 300 keV (NIST's tables)."""
    table = compton.attenuation_table()
    assert table[511] == 1
    assert table[400] == pytest.approx(0.1061 / 0.0960, rel=0.005)
    assert table[300] == pytest.approx(0.1186 / 0.0960, rel=0.005)


@pytest.mark.parametrize("window", [(0.0, 1e5), (400.0, 650.0)], ids=["open", "HRRT"])
def test_equally_likely_cosines_have_the_moments_of_the_accepted_part_of_the_law(window):
    scanner = replace(hrrt(), energy_window_keV=window)
    cosines, fraction = compton.accepted_cosines(scanner)
    assert len(cosines) == 8192 and (np.diff(cosines) > 0).all()
    nodes, weights = np.polynomial.legendre.leggauss(2000)
    accepted = np.interp(compton.scattered_energy(nodes), np.arange(512), compton.window_table(scanner))
    density = 2 * np.pi * weights * compton.klein_nishina(nodes) * accepted

    def moment(power: int) -> float:
        return (nodes**power * density).sum()

    assert fraction == pytest.approx(moment(0) / compton.cross_section(511.0), rel=1e-3)
    assert (fraction == pytest.approx(1)) == (window[0] == 0)
    for power in (1, 2, 3):
        assert (cosines**power).mean() == pytest.approx(moment(power) / moment(0), abs=2e-4)


@pytest.mark.parametrize(("scanner", "low", "fwhm"), [(hrrt(), 400, 0.15), (mmr(), 430, 0.145)])
def test_at_its_lower_edge_the_window_accepts_half(scanner, low, fwhm):
    table = compton.window_table(scanner)
    assert table[511] == 1 and (np.diff(table) >= 0).all()
    assert table[low] == pytest.approx(0.5, abs=0.005)
    sigma = fwhm * np.sqrt(low * 511) / 2.3548
    assert table[round(low - sigma)] == pytest.approx(0.1587, abs=0.02), "one standard deviation below"

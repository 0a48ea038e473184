"""Curves in closed form against integration by scipy, and the model's own equation."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from csrd.virtual.kinetics import SCALED_S, Curve, feng
from csrd.virtual.tracer import read_tracer

DASB = read_tracer(Path(__file__).parents[2] / "config" / "tracers" / "DASB.tsv")
KINETICS = DASB.kinetics
TIMES = np.array([20.0, 90.0, 400.0, 1500.0, 5400.0])


def plasma(t: float) -> float:
    """Return Feng's curve of the DASB table at a time in s, written out once more."""
    a1, a2, a3, l1, l2, l3 = 0.724, 0.136, 0.0298, 4.134, 0.0371, 0.002
    m = t / 60
    return (a1 * m - a2 - a3) * np.exp(-l1 * m) + a2 * np.exp(-l2 * m) + a3 * np.exp(-l3 * m)


def test_the_input_is_fengs():
    assert KINETICS.input.at(TIMES) == pytest.approx([plasma(t) for t in TIMES], rel=1e-12)
    assert KINETICS.input.at(np.array([-1.0, 0.0])) == pytest.approx([0, 0], abs=1e-15)


@pytest.mark.parametrize("region", ["putamen", "accumbens", "frontal", "csf", "cerebellar_cortex"])
def test_curves_solve_the_differential_equation(region):
    """dC/dt = K1 C_p - k2a C, K1 = R1 K1', k2a = R1 k2' / (1 + BP): up to K1', which scales all regions."""
    r1, bp = KINETICS.r1[region], KINETICS.bp[region]
    k2a = r1 * KINETICS.k2_reference / (1 + bp)
    span, exact = (0, SCALED_S), {"rtol": 1e-9, "atol": 1e-12, "t_eval": TIMES, "method": "LSODA"}
    target = solve_ivp(lambda t, c: r1 * plasma(t) - k2a * c, span, [0], max_step=20, **exact).y[0]
    k2 = KINETICS.k2_reference
    reference = solve_ivp(lambda t, c: plasma(t) - k2 * c, span, [0], max_step=20, **exact).y[0]
    ratio = KINETICS.curve(region).at(TIMES) / KINETICS.curve("cerebellar_cortex").at(TIMES)
    assert ratio == pytest.approx(target / reference, rel=1e-6)


def test_curves_are_those_of_the_simplified_reference_tissue_model():
    """C_T = R1 C_R + (k2 - R1 k2a) C_R * exp(-k2a t), the convolution by numerical integration."""
    r1, bp = KINETICS.r1["thalamus"], KINETICS.bp["thalamus"]
    k2 = r1 * KINETICS.k2_reference
    k2a = k2 / (1 + bp)
    reference = KINETICS.curve("cerebellar_cortex")
    for t, value in zip(TIMES, KINETICS.curve("thalamus").at(TIMES), strict=True):
        convolved, _ = quad(
            lambda s, t=t: float(reference.at(np.array(s))) * np.exp(-k2a * (t - s)), 0, t, limit=200
        )
        assert value == pytest.approx(
            r1 * float(reference.at(np.array(t))) + (k2 - r1 * k2a) * convolved, rel=1e-7
        )


def test_integrals_with_decay_are_exact():
    curve, rate = KINETICS.curve("raphe"), np.log(2) / DASB.half_life_s
    edges = np.array([0, 7.0, 60.0, 900.0, 5400.0])
    wanted = [
        quad(lambda t: float(curve.at(np.array(t))) * np.exp(-rate * t), a, b, limit=200)[0]
        for a, b in pairwise(edges)
    ]
    assert curve.integral(edges, rate) == pytest.approx(wanted, rel=1e-8)


def test_the_reference_has_its_suv_over_ninety_minutes():
    whole = np.array([0, 5400.0])
    assert KINETICS.means("cerebellar_cortex", whole)[0] == pytest.approx(DASB.suv["cerebellar_cortex"])


def test_the_means_are_near_the_static_table():
    """Both are of the same four scans; brain tissue differs by as much as medians of fits do from means."""
    whole = np.array([0, 5400.0])
    for region in ("putamen", "thalamus", "pons", "hippocampus", "white_matter", "frontal"):
        assert KINETICS.means(region, whole)[0] == pytest.approx(DASB.suv[region], rel=0.1)


@pytest.mark.parametrize("power", [0, 1])
def test_equal_rates_do_not_divide_by_zero(power):
    """c t^n e^(-kt) convolved with e^(-kt) is c t^(n+1) / (n + 1) e^(-kt)."""
    k, t = 0.002, np.array([10.0, 300.0, 2000.0])
    found = Curve(((3.0, power, k),)).convolved(k).at(t)
    assert found == pytest.approx(3 * t ** (power + 1) / (power + 1) * np.exp(-k * t), rel=1e-3)


def test_feng_is_in_minutes():
    assert feng((60.0, 0.0, 0.0, 6.0, 1.0, 1.0)).at(np.array([6.0])) == pytest.approx([6 * np.exp(-0.6)])

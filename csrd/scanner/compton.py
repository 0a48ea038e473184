"""Compton scattering: angles and energies of scattered photons, and which of them the scanner accepts.

Klein and Nishina (1929), for free electrons. All interactions with the body are taken as Compton's:
in water at 511 keV 0.2 % are photoelectric. Energies are in keV, angles are given by their cosine.
Tables have one value a keV, from 0 to 511.
"""

import math
from functools import cache

import numpy as np
from scipy.special import ndtr

from csrd.scanner.geometry import Scanner

ELECTRON_KEV = 511.0  # a photon's energy at annihilation, and the electron's rest energy
SIGMA_PER_FWHM = 1 / math.sqrt(8 * math.log(2))
NEVER = 1e-4  # of the efficiency at 511 keV: photons below that energy are not followed


def scattered_energy(cosine, energy=ELECTRON_KEV):
    """Return the energy of a photon after scattering; the arguments may be arrays."""
    return energy / (1 + energy / ELECTRON_KEV * (1 - cosine))


def klein_nishina(cosine, energy=ELECTRON_KEV):
    """Return the differential cross-section dσ/dΩ of an electron, in units of its radius squared."""
    ratio = scattered_energy(cosine, energy) / energy
    return 0.5 * ratio**2 * (ratio + 1 / ratio - (1 - cosine**2))


def cross_section(energy):
    """Return the total cross-section σ of an electron, in units of its radius squared; `energy` > 0."""
    k = np.asarray(energy) / ELECTRON_KEV
    log = np.log1p(2 * k)
    first = (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - log / k)
    return 2 * np.pi * (first + log / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2)


@cache
def attenuation_table() -> np.ndarray:
    """Return μ(E) / μ(511 keV), (512,): tissue attenuates as its electrons scatter. Up to 20 keV constant."""
    energies = np.maximum(np.arange(int(ELECTRON_KEV) + 1), 20.0)
    return cross_section(energies) / cross_section(ELECTRON_KEV)


@cache
def window_table(scanner: Scanner) -> np.ndarray:
    """Return the chance that a photon is measured inside the energy window, over that at 511 keV, (512,).

    The measured energy has a normal distribution, whose relative width falls with the root of the
    energy. Crystals' efficiencies include the chance at 511 keV.
    """
    energies = np.maximum(np.arange(int(ELECTRON_KEV) + 1), 1.0)
    sigma = scanner.energy_fwhm * SIGMA_PER_FWHM * np.sqrt(energies * ELECTRON_KEV)
    low, high = (ndtr((edge - energies) / sigma) for edge in scanner.energy_window_keV)
    return (high - low) / (high - low)[-1]


def lowest_energy(scanner: Scanner) -> float:
    """Return the energy below which no photon is accepted."""
    return float(np.argmax(window_table(scanner) > NEVER))


@cache
def accepted_cosines(scanner: Scanner, number: int = 8192) -> tuple[np.ndarray, float]:
    """Return equally likely cosines of the angle at which a photon of 511 keV is scattered and accepted.

    Accepted by the energy window, over its acceptance at 511 keV (`window_table`); the second value is the
    probability of that.
    """
    edges = np.linspace(-1, 1, 100_001)
    cosines = (edges[1:] + edges[:-1]) / 2
    density = klein_nishina(cosines)
    accepted = density * window_table(scanner)[np.rint(scattered_energy(cosines)).astype(int)]
    reached = np.append(0, np.cumsum(accepted) / accepted.sum())
    fraction = float(accepted.sum() / density.sum())
    return np.interp((np.arange(number) + 0.5) / number, reached, edges), fraction

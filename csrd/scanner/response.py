"""Detection factors of lines of response (solid angle, depth, efficiency), and the blur of an image."""

import math

import numba
import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.scanner.geometry import Scanner


def line_factors(scanner: Scanner, crystals: np.ndarray) -> np.ndarray:
    """Return g of each line, (N,) float32 in mm²: detected pairs per decay density and mm of line.

    g = A² cosθ_a cosθ_b / (2πL²) · P_a P_b, for crystals of area A (pitch times pitch) at a distance L, θ
    between line and head normal, and P the probability that a photon interacts in that layer. ∫ decays/mm³ dl
    · g is the number of pairs that reach both crystals, before attenuation in the body and efficiencies.
    `crystals` is (N, 2).
    """
    return _line_factors(np.ascontiguousarray(crystals), *line_geometry(scanner))


def line_geometry(scanner: Scanner) -> tuple:
    """Return what `line_factor` takes of a scanner, its arguments from `positions` on."""
    return (
        scanner.crystal_positions,
        scanner.head_normals,
        scanner.crystals_per_head,
        scanner.crystal_layers,
        scanner.pitch_mm * scanner.ring_pitch_mm,
        scanner.layer_mm,
        scanner.mu_per_mm,
    )


def detection_factors(scanner: Scanner, crystals: np.ndarray) -> np.ndarray:
    """Return the detection factor of each line without its crystals' efficiencies, (N,) float32.

    The measured factors are used where the scan's file has them, else `line_factors`.
    """
    if scanner.measured_factors is not None:
        return scanner.measured_factors(crystals)
    return line_factors(scanner, crystals)


def compile_line_factor(jit):
    """Return `line_factor`, compiled by `jit`: for the CPU here, for CUDA in `recon.lines_cuda`."""

    @jit
    def interaction(cosine, layer, layer_mm, mu):
        """Return the probability that a photon passes the layers in front and interacts in this one."""
        survive = math.exp(-mu * layer_mm / cosine)
        stopped = 1.0 - survive
        for _ in range(layer):
            stopped *= survive
        return stopped

    @jit
    def line_factor(a, b, positions, normals, per_head, layers, area, layer_mm, mu):
        """Return g of the line between crystals a and b in mm² (see `line_factors`)."""
        dx = positions[b, 0] - positions[a, 0]
        dy = positions[b, 1] - positions[a, 1]
        dz = positions[b, 2] - positions[a, 2]
        square = dx * dx + dy * dy + dz * dz
        length = math.sqrt(square)
        head_a, head_b = a // per_head, b // per_head
        cos_a = abs(normals[head_a, 0] * dx + normals[head_a, 1] * dy) / length
        cos_b = abs(normals[head_b, 0] * dx + normals[head_b, 1] * dy) / length
        depth = interaction(cos_a, layers[a], layer_mm, mu) * interaction(cos_b, layers[b], layer_mm, mu)
        return area**2 * cos_a * cos_b / (2 * math.pi * square) * depth

    return line_factor


_line_factor = compile_line_factor(numba.njit(cache=True, inline="always"))


@numba.njit(parallel=True, cache=True)
def _line_factors(crystals, positions, normals, per_head, layers, area, layer_mm, mu):
    factors = np.empty(len(crystals), np.float32)
    for i in numba.prange(len(crystals)):
        factors[i] = _line_factor(
            crystals[i, 0], crystals[i, 1], positions, normals, per_head, layers, area, layer_mm, mu
        )
    return factors


def blur(
    image: np.ndarray, voxel_mm: np.ndarray, sigma_mm: float, tail_sigma_mm: float, tail_fraction: float
):
    """Return the image (X, Y, Z) blurred by a Gaussian core and a wider Gaussian tail, float32.

    Outside the image is zero, which makes the blur its own adjoint: it serves forward and back.
    """
    voxel_mm = np.asarray(voxel_mm)

    def gaussian(sigma):
        return gaussian_filter(image, sigma / voxel_mm, mode="constant", truncate=4.0)

    if sigma_mm == 0 and tail_fraction == 0:
        return image
    core = gaussian(sigma_mm)
    if tail_fraction == 0:
        return core
    return (1 - tail_fraction) * core + tail_fraction * gaussian(tail_sigma_mm)

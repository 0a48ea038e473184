"""Joseph's projector: line integrals through a voxel image, and their adjoint.

One inner loop, compiled for the CPU here and for CUDA in `projector_cuda`. Lines are segments from
`starts` to `ends`, (N, 3) float32 in mm; `origin` is the centre of voxel [0, 0, 0] and `voxel_size`
the voxels' edges, (3,) in mm. Along the axis where a line is steepest, it is sampled once a plane of
voxels, bilinearly inside the plane (Joseph 1982, IEEE Trans Med Imaging 1, 192).

Every compiled loop over lines is in this file, because numba's cache on disk notices changes of
a kernel's own file only.
"""

import math
from types import SimpleNamespace

import numba
import numpy as np

# Private images of the back projection. Fixed, so that the order of summation, hence the result to
# the last bit, does not depend on the number of threads; more than this many threads do not help.
PRIVATE_IMAGES = 8
EDGE = 1e-4  # voxels by which a sample stays clear of the zero border's outer edge


def compile_line_loops(jit, add):
    """Return `plan` (where a line runs) and the loops along it, `integrate` and `spread`, compiled by `jit`.

    `add(image, index, value)` adds to one voxel: plainly on a private image, atomically on a shared
    one. The images are flat and have a border of one zero voxel on every side, which spares the inner
    loop all tests of bounds.
    """

    @jit
    def plan(starts, i, ends, j, origin, voxel, shape):
        """Return where the line from starts[i] to ends[j] runs: planes k0 … k1, then v, w = a + b·k in voxels
        of the padded image, their strides, and the length of line between two planes in mm.
        """
        zero = np.float32(0.0)
        # Position and direction in voxel units of the padded image
        s0 = (starts[i, 0] - origin[0]) / voxel[0] + 1.0
        s1 = (starts[i, 1] - origin[1]) / voxel[1] + 1.0
        s2 = (starts[i, 2] - origin[2]) / voxel[2] + 1.0
        d0 = (ends[j, 0] - starts[i, 0]) / voxel[0]
        d1 = (ends[j, 1] - starts[i, 1]) / voxel[1]
        d2 = (ends[j, 2] - starts[i, 2]) / voxel[2]
        length = math.sqrt((d0 * voxel[0]) ** 2 + (d1 * voxel[1]) ** 2 + (d2 * voxel[2]) ** 2)
        n0, n1, n2 = shape[0] + 2, shape[1] + 2, shape[2] + 2
        stride0, stride1, stride2 = n1 * n2, n2, 1
        # The main axis is the one with the most voxels to cross; (u, v, w) is its cyclic order
        a0, a1, a2 = abs(d0), abs(d1), abs(d2)
        if a0 >= a1 and a0 >= a2:
            u, v, w, du, dv, dw = s0, s1, s2, d0, d1, d2
            nu, nv, nw, su, sv, sw = n0, n1, n2, stride0, stride1, stride2
        elif a1 >= a2:
            u, v, w, du, dv, dw = s1, s0, s2, d1, d0, d2
            nu, nv, nw, su, sv, sw = n1, n0, n2, stride1, stride0, stride2
        else:
            u, v, w, du, dv, dw = s2, s0, s1, d2, d0, d1
            nu, nv, nw, su, sv, sw = n2, n0, n1, stride2, stride0, stride1
        if du == 0.0:
            return 0, -1, zero, zero, zero, zero, su, sv, sw, zero
        bv, bw = dv / du, dw / du
        av, aw = v - bv * u, w - bw * u
        low, high = max(1.0, min(u, u + du)), min(nu - 2.0, max(u, u + du))
        # v and w must stay inside the border: 0 < a + b·k < n − 1
        if abs(bv) > 1e-12:
            t0, t1 = (EDGE - av) / bv, (nv - 1.0 - EDGE - av) / bv
            low, high = max(low, min(t0, t1)), min(high, max(t0, t1))
        elif av < EDGE or av > nv - 1.0 - EDGE:
            high = low - 1.0
        if abs(bw) > 1e-12:
            t0, t1 = (EDGE - aw) / bw, (nw - 1.0 - EDGE - aw) / bw
            low, high = max(low, min(t0, t1)), min(high, max(t0, t1))
        elif aw < EDGE or aw > nw - 1.0 - EDGE:
            high = low - 1.0
        if low > high:
            return 0, -1, zero, zero, zero, zero, su, sv, sw, zero
        return (
            math.ceil(low), math.floor(high), np.float32(av), np.float32(bv), np.float32(aw), np.float32(bw),
            su, sv, sw, np.float32(length / abs(du)),
        )  # fmt: skip

    @jit
    def integrate(image, line):
        """Return the integral of the padded flat image along a planned line, in its unit times mm."""
        k0, k1, av, bv, aw, bw, su, sv, sw, step = line
        dv, dw = np.uintp(sv), np.uintp(sw)
        total = np.float32(0.0)
        for k in range(k0, k1 + 1):
            v = av + bv * np.float32(k)
            w = aw + bw * np.float32(k)
            iv, iw = np.int32(v), np.int32(w)
            fv, fw = v - np.float32(iv), w - np.float32(iw)
            at = np.uintp(k * su + iv * sv + iw * sw)  # unsigned: no test for indices counted from the end
            near = image[at] + fw * (image[at + dw] - image[at])
            far = image[at + dv] + fw * (image[at + dv + dw] - image[at + dv])
            total += near + fv * (far - near)
        return total * step

    @jit
    def spread(value, image, line):
        """Add `value` times a planned line's weights to the padded flat image: `integrate`'s adjoint."""
        k0, k1, av, bv, aw, bw, su, sv, sw, step = line
        value = value * step
        one = np.float32(1.0)
        dv, dw = np.uintp(sv), np.uintp(sw)
        for k in range(k0, k1 + 1):
            v = av + bv * np.float32(k)
            w = aw + bw * np.float32(k)
            iv, iw = np.int32(v), np.int32(w)
            fv, fw = v - np.float32(iv), w - np.float32(iw)
            at = np.uintp(k * su + iv * sv + iw * sw)
            near, far = value * (one - fv), value * fv
            add(image, at, near * (one - fw))
            add(image, at + dw, near * fw)
            add(image, at + dv, far * (one - fw))
            add(image, at + dv + dw, far * fw)

    return SimpleNamespace(plan=plan, integrate=integrate, spread=spread)


_jit = numba.njit(cache=True, fastmath={"contract", "nsz"})


@_jit
def _add(image, index, value):
    image[index] += value


_line = compile_line_loops(_jit, _add)
_plan, _integrate, _spread = _line.plan, _line.integrate, _line.spread


@numba.njit(parallel=True, cache=True)
def _forward(image, starts, ends, origin, voxel, shape, values):
    for i in numba.prange(len(starts)):
        values[i] = _integrate(image, _plan(starts, i, ends, i, origin, voxel, shape))


@numba.njit(parallel=True, cache=True)
def _back(values, starts, ends, origin, voxel, shape, images):
    parts, lines = len(images), len(starts)
    for part in numba.prange(parts):
        image = images[part]
        for i in range(part * lines // parts, (part + 1) * lines // parts):
            if values[i] != 0:
                _spread(values[i], image, _plan(starts, i, ends, i, origin, voxel, shape))


@numba.njit(parallel=True, cache=True)
def _em_back(image, crystals, positions, additive, origin, voxel, shape, images):
    """Back-project 1 / (forward projection + additive) of each event into private images, fused."""
    parts, events = len(images), len(crystals)
    for part in numba.prange(parts):
        target = images[part]
        for i in range(part * events // parts, (part + 1) * events // parts):
            line = _plan(positions, crystals[i, 0], positions, crystals[i, 1], origin, voxel, shape)
            expected = _integrate(image, line) + additive[i]
            if expected > 0:
                _spread(np.float32(1) / expected, target, line)


def forward(image, origin, voxel_size, starts, ends) -> np.ndarray:
    """Return the line integrals of `image` (X, Y, Z), (N,) float32 in the image's unit times mm."""
    origin, voxel_size, starts, ends = _lines(origin, voxel_size, starts, ends)
    values = np.empty(len(starts), np.float32)
    _forward(padded(image), starts, ends, origin, voxel_size, image.shape, values)
    return values


def back(values, origin, voxel_size, starts, ends, shape) -> np.ndarray:
    """Return the back projection of `values` (N,), an image of `shape`, float32: `forward`'s adjoint."""
    origin, voxel_size, starts, ends = _lines(origin, voxel_size, starts, ends)
    images = private_images(shape)
    _back(np.asarray(values, np.float32), starts, ends, origin, voxel_size, tuple(shape), images)
    return unpadded_sum(images, shape)


def em_back(image, crystals, positions, additive, origin, voxel_size, images) -> np.ndarray:
    """Return Aᵀ[1 / (A x + c)] over events, float32, in one pass that keeps no line.

    `image` is x (X, Y, Z), `crystals` (N, 2) the events' crystals, `positions` (C, 3) mm, `additive` c
    (N,) in the unit of A x, `images` the scratch of `private_images`.
    """
    return em_back_parts(image, [(crystals, additive)], positions, origin, voxel_size, images)


def em_back_parts(image, events, positions, origin, voxel_size, images) -> np.ndarray:
    """Return what `em_back` returns, of events in parts: `events` yields (crystals, additive) of each."""
    images[:] = 0
    origin, voxel_size = np.asarray(origin, np.float64), np.asarray(voxel_size, np.float64)
    flat = padded(image)
    for crystals, additive in events:
        _em_back(flat, crystals, positions, additive, origin, voxel_size, image.shape, images)
    return unpadded_sum(images, image.shape)


def padded(image: np.ndarray) -> np.ndarray:
    """Return the image as flat float32 with a border of one zero voxel."""
    return np.pad(np.asarray(image, np.float32), 1).ravel()


def private_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Return zeroed padded flat images for the back projection, (PRIVATE_IMAGES, voxels) float32."""
    return np.zeros((PRIVATE_IMAGES, math.prod(n + 2 for n in shape)), np.float32)


def unpadded_sum(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the sum of private images, without the border, always added in the same order."""
    total = images[0].copy()
    for image in images[1:]:
        total += image
    return total.reshape([n + 2 for n in shape])[1:-1, 1:-1, 1:-1].copy()


def _lines(origin, voxel_size, starts, ends):
    starts, ends = np.ascontiguousarray(starts, np.float32), np.ascontiguousarray(ends, np.float32)
    assert starts.shape == ends.shape and starts.ndim == 2 and starts.shape[1] == 3, starts.shape
    return np.asarray(origin, np.float64), np.asarray(voxel_size, np.float64), starts, ends

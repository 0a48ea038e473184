"""Decays followed on a CUDA device, a thread each: the functions of `decays` and `scatter`, compiled for it.

A decay's random numbers depend on its own number only (`streams`), and pairs are returned in the order of
the decays, so that they are the CPU's. The two devices' last bits may differ: about one decay in 1e12 then
ends in another crystal.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from csrd.scanner.projector_cuda import launch
from csrd.virtual.decays import BOTH_SCATTER, ONE_SCATTERS, TRUE_DECAYS, compile_following
from csrd.virtual.scatter import compile_scattering
from csrd.virtual.streams import compile_philox, compile_streams

AT_A_TIME = 1 << 26  # decays, of 10 bytes each on the device

STATE = 11  # key, counter, four words, and how many of these were drawn
DRAWN, WORDS = 10, 6

_jit = cuda.jit(device=True)
_philox = compile_philox(_jit)


@cuda.jit(device=True)
def _begin(state, key, kind, part, decay):
    """Make the state that of a decay."""
    state[0], state[1] = key[0], key[1]
    state[2], state[3], state[4], state[5] = 0, decay, part, kind
    state[DRAWN] = 4


@cuda.jit(device=True)
def _word(state):
    """Return the next 32 bits of a decay's stream, as `streams` does."""
    drawn = np.int64(state[DRAWN])
    if drawn == 4:
        state[WORDS], state[WORDS + 1], state[WORDS + 2], state[WORDS + 3] = _philox(
            state[2], state[3], state[4], state[5], state[0], state[1]
        )
        state[2] = state[2] + np.uint64(1)
        drawn = np.int64(0)
    state[DRAWN] = drawn + 1
    return state[WORDS + drawn]


_streams = compile_streams(_jit, _word)
_following = compile_following(_jit, _streams)
_scattering = compile_scattering(_jit, _streams, _following)
_follow, _one, _both = _following.follow, _scattering.one, _scattering.both


@cuda.jit(device=True)
def _source_of(decay, ends):
    """Return the first voxel whose decays end after this one; `ends` (V,) rises."""
    low, high = 0, ends.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > decay:
            high = middle
        else:
            low = middle + 1
    return low


@cuda.jit
def follow_kernel(
    key, part, first, ends, pairs, found, quantiles, centres, voxel, cells, entries, first_of, thickness,
    mu, origin, per_mm, efficiencies, normals, tangents, allowed, counts, lengths, depth
):  # fmt: skip
    """Write each decay's pair of crystals, and how many were recorded, from decay number `first` on."""
    i = cuda.grid(1)
    if i < found.shape[0]:
        state = cuda.local.array(STATE, np.uint64)
        _begin(state, key, TRUE_DECAYS, part, first + i)
        a, b, copies = _follow(
            state, quantiles, _source_of(first + i, ends), centres, voxel, cells,
            (entries, first_of, thickness), (mu, origin, per_mm), efficiencies,
            normals, tangents, allowed, counts, lengths, depth
        )  # fmt: skip
        pairs[i, 0], pairs[i, 1], found[i, 0], found[i, 1] = a, b, copies, 0


def _scatter_kernel(follow, kind):
    @cuda.jit
    def kernel(
        key, part, first, ends, pairs, found, quantiles, centres, voxel, cells, entries, first_of, bound,
        opposite, interacting, mu, origin, per_mm, free_path, cosines, attenuation, window, efficiencies,
        normals, tangents, allowed, counts, lengths, depth
    ):  # fmt: skip
        i = cuda.grid(1)
        if i < found.shape[0]:
            state = cuda.local.array(STATE, np.uint64)
            _begin(state, key, kind, part, first + i)
            a, b, copies, often = follow(
                state, quantiles, _source_of(first + i, ends), centres, voxel, cells,
                (entries, first_of, bound, opposite, interacting), (mu, origin, per_mm), free_path,
                (cosines, attenuation, window), efficiencies,
                normals, tangents, allowed, counts, lengths, depth
            )  # fmt: skip
            pairs[i, 0], pairs[i, 1], found[i, 0], found[i, 1] = a, b, copies, often

    return kernel


one_kernel = _scatter_kernel(_one, ONE_SCATTERS)
both_kernel = _scatter_kernel(_both, BOTH_SCATTER)
KERNELS = {TRUE_DECAYS: follow_kernel, ONE_SCATTERS: one_kernel, BOTH_SCATTER: both_kernel}


class _Held:
    """Arrays on the device, each sent there once; of the same kind of decays only the voxels' change."""

    def __init__(self) -> None:
        self.arrays: dict[int, tuple[np.ndarray, Any]] = {}

    def __call__(self, array: np.ndarray) -> Any:
        """Return the array on the device."""
        if id(array) not in self.arrays:
            self.arrays[id(array)] = array, cuda.to_device(np.ascontiguousarray(array))
        return self.arrays[id(array)][1]


def follower_on_device(kind: int) -> Callable:
    """Return a function with the arguments of the CPU's kernel for decays of a kind, and its results."""
    held = _Held()

    def follow(key, part, quantiles, centres, decays, voxel, cells, *rest):
        numbers = np.cumsum(decays)
        ends, voxels = cuda.to_device(numbers), (centres, voxel, cells)
        given = [held(x) if isinstance(x, np.ndarray) else x for x in _flat(rest)]
        arrays = [held(quantiles), *(cuda.to_device(np.ascontiguousarray(x)) for x in voxels), *given]
        total = int(numbers[-1]) if len(numbers) else 0
        pairs, times = [np.empty((0, 2), np.uint32)], [np.empty(0, np.uint8)]
        for first in range(0, total, AT_A_TIME):
            number = min(AT_A_TIME, total - first)
            of_decay = cuda.device_array((number, 2), np.int32)
            found = cuda.device_array((number, 2), np.uint8)
            KERNELS[kind][launch(number)](held(key), part, first, ends, of_decay, found, *arrays)
            recorded, often = _recorded(of_decay, found)
            pairs.append(recorded)
            times.append(often)
        if kind == TRUE_DECAYS:
            return np.concatenate(pairs)
        return np.concatenate(pairs), np.concatenate(times)

    return follow


def _flat(arguments: tuple) -> list:
    """Return arguments with tuples that hold arrays replaced by what they hold."""
    flat: list = []
    for one in arguments:
        spread = isinstance(one, tuple) and isinstance(one[0], np.ndarray)
        flat += one if spread else [one]
    return flat


def _recorded(pairs: Any, found: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the recorded pairs in the order of their decays, (N, 2) uint32, and their scatterings."""
    import torch

    if hasattr(pairs, "__cuda_array_interface__") and torch.cuda.is_available():
        numbers, lines = torch.as_tensor(found, device="cuda"), torch.as_tensor(pairs, device="cuda")
        some = torch.nonzero(numbers[:, 0]).squeeze(1)
        copies = numbers[some, 0].long()
        chosen = torch.repeat_interleave(some, copies)
        return lines[chosen].cpu().numpy().view(np.uint32), numbers[chosen, 1].cpu().numpy()
    copied, places = found.copy_to_host(), pairs.copy_to_host()
    kept = np.repeat(np.arange(len(copied)), copied[:, 0])
    return places[kept].view(np.uint32), copied[kept, 1]

"""A network applied to a volume that does not fit into memory: overlapping tiles, blended."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

Box = tuple[slice, slice, slice]


def tiled(evaluate: Callable[[Box], Tensor], shape: Sequence[int], size: int, halo: int) -> Tensor:
    """Return `evaluate` over a whole volume, assembled from boxes of at most `size`³ voxels: (…, X, Y, Z).

    The `halo` voxels at a box's inner border are not used; over the next `halo` voxels neighbouring boxes
    blend into each other. Where `halo` covers the network's receptive field, the result is that of one
    box. Boxes start at multiples of `halo`, which must itself be a multiple of the network's factor.
    """
    assert size >= 4 * halo > 0, f"tiles of {size} voxels are too small for a halo of {halo}"
    total = weights = None
    for box in boxes(shape, size, halo):
        part = evaluate(box)
        ramp = _ramp(box, shape, halo, part)
        if total is None or weights is None:
            total = part.new_zeros(*part.shape[:-3], *shape)
            weights = part.new_zeros(shape)
        total[..., *box] += part * ramp
        weights[box] += ramp
    assert total is not None and weights is not None, f"no box covers {shape}"
    return total / weights


def boxes(shape: Sequence[int], size: int, halo: int) -> Iterator[Box]:
    """Yield the boxes that cover a volume: neighbours overlap by 3 `halo`, inner ends are its multiples."""
    edge = size // halo * halo  # an inner end must suit the network's factor, as the starts do
    axes = []
    for n in shape:
        if n <= size:
            axes.append([slice(0, n)])
        else:
            starts = range(0, n - 3 * halo, edge - 3 * halo)
            axes.append([slice(start, min(start + edge, n)) for start in starts])
    yield from product(*axes)


def _ramp(box: Box, shape: Sequence[int], halo: int, like: Tensor) -> Tensor:
    """Return a box's weights (x, y, z): 0 within `halo` of an inner border, 1 beyond twice that."""
    axes = []
    for part, n in zip(box, shape, strict=True):
        place = torch.arange(part.start, part.stop, device=like.device, dtype=like.dtype) + 0.5
        low = torch.ones_like(place) if part.start == 0 else (place - part.start - halo) / halo
        high = torch.ones_like(place) if part.stop == n else (part.stop - halo - place) / halo
        axes.append(torch.minimum(low, high).clamp(0, 1))
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]

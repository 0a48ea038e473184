import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csrd.diffusion.tiles import boxes, tiled

AXIS = st.integers(1, 16)


@settings(max_examples=40, deadline=None)
@given(st.tuples(AXIS, AXIS, AXIS), st.integers(1, 3), st.integers(0, 7))
def test_tiles_cover_every_voxel_and_what_is_constant_stays_so(shape, halo, more):
    size = 4 * halo + more
    covered = torch.zeros(shape)
    if max(shape) <= size:
        assert len(list(boxes(shape, size, halo))) == 1
    for box in boxes(shape, size, halo):
        for part, n in zip(box, shape, strict=True):
            assert part.start % halo == 0 and part.stop <= n and part.stop - part.start <= size
            # an inner end stands where the network's factor, which divides the halo, can bear it
            assert part.stop == n or part.stop % halo == 0
        covered[box] += 1
    assert covered.min() > 0
    field = torch.rand(2, *shape)
    torch.testing.assert_close(tiled(lambda box: field[:, *box], shape, size, halo), field)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 9))
def test_nothing_within_a_halo_of_an_inner_border_is_used(n, halo, more):
    size, shape = 4 * halo + more, (n, 1, 1)

    def spoiled(box):
        part = torch.ones(1, box[0].stop - box[0].start, 1, 1)
        if box[0].start > 0:
            part[:, :halo] = 1e30
        if box[0].stop < n:
            part[:, -halo:] = 1e30
        return part

    out = tiled(spoiled, shape, size, halo)
    torch.testing.assert_close(out, torch.ones(1, *shape))


def test_neighbours_blend_without_a_jump():
    # box b says b everywhere: between two boxes the result rises evenly over one halo
    halo, n = 8, 64
    starts = [box[0].start for box in boxes((n, 1, 1), 40, halo)]
    out = tiled(
        lambda box: torch.full((1, box[0].stop - box[0].start, 1, 1), float(starts.index(box[0].start))),
        (n, 1, 1), 40, halo,
    )[0, :, 0, 0]  # fmt: skip
    assert out.min() == 0 and out.max() == len(starts) - 1
    assert (out.diff() >= 0).all() and out.diff().max() <= 1 / halo + 1e-6


def test_a_tile_too_small_for_its_halo_is_our_mistake():
    with pytest.raises(AssertionError, match="too small"):
        tiled(lambda box: torch.zeros(1), (9, 9, 9), 7, 2)

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csrd.networks.folded import fold, unfold


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, 3)] * 5),
    st.integers(1, 3),
)
def test_fold_and_unfold_are_inverses(shape, size):
    b, c, *cells = shape
    x = torch.randn(b, c, *(n * size for n in cells))
    folded = fold(x, size)
    assert folded.shape == (b, c * size**3, *cells)
    assert torch.equal(unfold(folded, size), x)
    # a cell holds its own voxels, and no others
    assert torch.equal(folded[0, : size**3, 0, 0, 0], x[0, 0, :size, :size, :size].flatten())

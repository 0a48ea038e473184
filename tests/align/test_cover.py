"""An MR of a part of the head is refused or warned of, by the fraction of the PET's head mask inside it."""

import numpy as np
import pytest
from head_phantom import rigid

from csrd.align.head import head_mask
from csrd.align.register import check_cover
from csrd.api import denoise
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine


def cut(top: int, matrix: np.ndarray) -> Volume:
    """Return an MR whose field of view ends, upwards, behind `top` voxels of 3 mm; it lies by `matrix`."""
    affine = centred_affine((80, 90, 84), 3.0)
    return Volume(np.ones((80, 90, top), np.float32), matrix @ affine, "arbitrary")


@pytest.mark.parametrize("matrix", [np.eye(4), rigid((0, 0, 180), (40, -30, 7))], ids=["in place", "turned"])
@pytest.mark.parametrize(("top", "percent"), [(84, 100), (60, 90), (50, 70), (42, 50)])
def test_the_covered_part_is_that_of_the_mask(pet, caplog, top, percent, matrix):
    head = head_mask(pet)
    edge = -41.5 * 3 + (top - 0.5) * 3  # mm, where the field of view ends
    heights = pet.affine[2, 3] + 3 * np.arange(pet.shape[2])
    expected = head[:, :, heights < edge].sum() / head.sum()
    assert 100 * expected == pytest.approx(percent, abs=1.5)
    mr = cut(top, matrix)
    if expected < 0.6:
        with pytest.raises(InputError, match=f"covers {expected:.0%} of the PET's head, too little"):
            check_cover(mr, pet, matrix)
        return
    assert check_cover(mr, pet, matrix) == pytest.approx(expected, abs=1e-9)
    assert ("may be off by a millimetre" in caplog.text) == (expected < 0.75)


def test_denoise_refuses_half_an_mr(pet, monkeypatch):
    monkeypatch.setattr("csrd.stages.denoiser.register", lambda *_, **__: np.eye(4))
    with pytest.raises(InputError, match="the MR: the MR covers .* of the PET's head, too little"):
        denoise(pet, cut(42, np.eye(4)), drf=4)

"""The phantom head as PET and MR."""

import numpy as np
import pytest
from head_phantom import grid_points, head

from csrd.io.volume import Volume, centred_affine


@pytest.fixture(scope="session")
def pet() -> Volume:
    """A noisy PET of the head on a 3 mm grid, Bq/mL."""
    shape = (64, 76, 68)
    affine = centred_affine(shape, 3.0)
    array = head(grid_points(shape, affine), 0)
    noise = np.random.default_rng(5).standard_normal(shape)
    return Volume((array + noise * np.sqrt(array + 100) * 15).clip(0).astype(np.float32), affine, "Bq/mL")


@pytest.fixture(scope="session")
def make_mr():
    """Return a function: matrix MR-world <- PET-world, shape, affine -> the MR of that head."""

    def make(matrix, shape, affine) -> Volume:
        points = grid_points(shape, affine)
        back = np.linalg.inv(matrix)
        return Volume(head(points @ back[:3, :3].T + back[:3, 3], 1).astype(np.float32), affine, "arbitrary")

    return make

"""One coarse virtual subject, shared by this folder's tests."""

import pytest

from csrd.virtual.anatomy import Anatomy, make_anatomy

VOXEL_MM, SHAPE = 3.0, (66, 78, 66)


@pytest.fixture(scope="session")
def anatomy() -> Anatomy:
    return make_anatomy(7, "01", VOXEL_MM, SHAPE)

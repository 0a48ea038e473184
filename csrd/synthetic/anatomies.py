"""Anatomies: the label map and the T1w image of each head that training pairs are made of."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csrd.virtual.regions import REGIONS

VOXEL_MM = 1.5
T1_STEPS = 48  # uint8 steps in the T1w intensity of white matter
PLACES = 20_000  # voxels of a head noted as places for spots


@dataclass(frozen=True)
class Head:
    """One head on cubic voxels of `VOXEL_MM` in RAS+ order: `labels` (X, Y, Z) uint8, 0 is air, and `t1`
    (X, Y, Z) uint8, white matter at `T1_STEPS`. `inner` and `outer` (N, 3) are some voxels inside the brain
    and in the tissue outside it."""

    name: str
    labels: Tensor
    t1: Tensor
    inner: np.ndarray
    outer: np.ndarray

    @classmethod
    def of(cls, name: str, labels: np.ndarray, t1: np.ndarray, device: torch.device) -> "Head":
        """Return a head on the device."""
        outside = np.isin(labels, (REGIONS["bone"], REGIONS["scalp"]))
        inner, outer = (_some(mask) for mask in ((labels > 0) & ~outside, outside))
        on_device = [torch.from_numpy(array).to(device) for array in (labels, t1)]
        return cls(name, on_device[0], on_device[1], inner, outer)


def _some(mask: np.ndarray) -> np.ndarray:
    """Return about `PLACES` voxels of a mask, evenly spread, (N, 3)."""
    found = np.flatnonzero(mask)
    some = found[:: max(1, len(found) // PLACES)]
    return np.stack(np.unravel_index(some, mask.shape), axis=1)


def load(path: Path, device: torch.device) -> list[Head]:
    """Return the heads in a file that `csrd.synthetic.build_anatomies` wrote, on the device."""
    with np.load(path) as file:
        facts = json.loads(str(file["facts"]))
        assert facts["voxel_mm"] == VOXEL_MM and facts["regions"] == REGIONS, f"{path} has other labels"
        return [Head.of(name, file[f"{name}/labels"], file[f"{name}/t1"], device) for name in facts["heads"]]

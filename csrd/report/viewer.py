"""Volumes in a page that one can turn: NiiVue, which the page holds, and compact copies of the images."""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csrd.io.embedded import compact_nifti
from csrd.io.volume import Volume
from csrd.report.planes import Ramp
from csrd.report.slices import View
from csrd.resample import resample

FOLDER = Path(__file__).parent / "viewer"
LIBRARY = FOLDER / "niivue.umd.js.gz"
LEAST_MM = 2.0  # voxels of the volumes in a page: finer ones would only make it larger


@dataclass(frozen=True)
class Layer:
    """A volume of the viewer: `key` and `label`, the scale that it starts with, and its initial opacity."""

    key: str
    label: str
    volume: Volume
    ramp: Ramp
    opacity: float = 0.0


@dataclass(frozen=True)
class Embedded:
    """A layer in a page: its settings, and its file in base64."""

    key: str
    label: str
    bottom: float
    top: float
    unit: str
    opacity: float
    data: str


def embedded(layers: list[Layer], view: View) -> list[Embedded]:
    """Return the layers cut to the view's box, on voxels of at least `LEAST_MM`."""
    return [
        Embedded(
            layer.key,
            layer.label,
            layer.ramp.bottom,
            layer.ramp.top,
            layer.ramp.unit,
            layer.opacity,
            _base64(compact_nifti(_cut(layer.volume, view), *_range(layer.ramp))),
        )
        for layer in layers
    ]


def library() -> str:
    """Return the viewer's library in base64, compressed by gzip."""
    return _base64(LIBRARY.read_bytes())


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


def _range(ramp: Ramp) -> tuple[float, float]:
    """Return the values that are kept: up to half as much again as the scale shows."""
    return 1.5 * ramp.bottom if ramp.bottom < 0 else ramp.bottom, 1.5 * ramp.top


def _cut(volume: Volume, view: View) -> Volume:
    """Return the part of a volume in the view's box, with voxels of at least `LEAST_MM`."""
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [*(part.start for part in view.box), 1.0])[:3]
    part = Volume(volume.array[view.box], affine, volume.unit)
    step = np.maximum(LEAST_MM / part.voxel_mm, 1.0)
    if np.allclose(step, 1.0, atol=0.05):
        return part
    shape = np.ceil(np.asarray(part.shape) / step).astype(int)
    return resample(part, Volume(np.broadcast_to(np.float32(0), shape), affine @ np.diag([*step, 1.0])))

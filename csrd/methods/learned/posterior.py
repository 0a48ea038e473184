"""The posterior of a scan's residual as images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from csrd.io.volume import Volume


@dataclass(frozen=True)
class ScanPosterior:
    """A scan's residual: tensors (X, Y, Z) over the canonical voxels of `low`, in units of `unit`.

    `source` is the input scan; the images returned have its order of axes. `std_factor` multiplies the
    standard deviation (see `StdFactor` and `Csrd.select`).
    """

    low: Volume
    source: Volume
    unit: float
    mean: Tensor
    samples: list[Tensor]
    std_factor: float

    def image(self, residual: Tensor) -> Volume:
        """Return low − residual, nowhere negative."""
        return self._volume(np.maximum(self.low.array - self._array(residual), 0))

    def deviation(self, fraction: float) -> Volume:
        """Return the normal dose's standard deviation around the image with this fraction of a sample."""
        import torch

        variance = torch.stack([(sample - self.mean) ** 2 for sample in self.samples]).mean(0)
        return self._volume(self._array(self.std_factor * (variance * (1 + fraction**2)).sqrt()))

    def _array(self, r: Tensor) -> np.ndarray:
        return r.cpu().numpy() * np.float32(self.unit)

    def _volume(self, array: np.ndarray) -> Volume:
        return self.low.like(array).with_axes_of(self.source)

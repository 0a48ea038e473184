"""Base class of the 3D methods: patches of volumes in training, and the conditions of a complete scan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from csrd.config.methods import LearnedSettings
from csrd.methods.learned import Learned

if TYPE_CHECKING:
    from torch import Tensor

    from csrd.io.volume import Volume
    from csrd.methods.base import LoadedPair
    from csrd.methods.learned.scaling import Head
    from csrd.networks import VolumeNetwork
    from csrd.train.patches import Patches, Scan


class VolumeSettings(LearnedSettings):
    """The block of a 3D method; a subclass adds the edge of its patches and whether it uses coordinates."""

    if TYPE_CHECKING:  # fields of each subclass, each with its own default
        patch: int
        coordinates: bool


class VolumeMethod(Learned):
    """A 3D network, trained on cubic patches and applied to volumes of any size."""

    settings: VolumeSettings
    network: VolumeNetwork

    def scan(self, pair: LoadedPair) -> Scan:
        return at_least(self.settings.patch, super().scan(pair))

    def patches(self, scans: list[Scan]) -> Patches:
        return self.patches_of(scans, (self.settings.patch,) * 3)

    @property
    def coordinates(self) -> bool:
        return self.settings.coordinates

    def smallest_edge(self) -> int:
        return max(self.settings.patch // self.network.factor, 1)

    def conditions(self, low: Volume, mr: Volume | None, head: Head) -> Tensor:
        """Return the network's input of an upright scan with its coordinates, (C, X, Y, Z)."""
        import torch

        from csrd.train.patches import coordinates

        conditions = torch.from_numpy(self.inputs(low, mr, head)).to(self.device)
        if self.settings.coordinates:
            conditions = torch.cat([conditions, coordinates(low.shape, self.device)])
        return conditions

    def mirrored(self, conditions: Tensor) -> Tensor | None:
        """Return the conditions of the head's mirror image, where the settings have `mirror`."""
        from csrd.train.patches import mirrored

        if self.settings.mirror:
            return mirrored(conditions, coordinates=self.settings.coordinates)
        return None


def at_least(size: int, scan: Scan) -> Scan:
    """Return a scan no smaller than a patch along any axis; a smaller one has its last voxels repeated."""
    from torch import nn

    shape = tuple(scan.target.shape[1:])
    short = [max(size - n, 0) for n in shape]
    if not any(short):
        return scan
    pad = [part for n in reversed(short) for part in (0, n)]
    inputs, target = (
        nn.functional.pad(x[None], pad, mode="replicate")[0] for x in (scan.inputs, scan.target)
    )
    return replace(scan, inputs=inputs, target=target, measured=shape)

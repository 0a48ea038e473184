"""A source of training patches, in place of `csrd.train.patches.Patches`, that never runs out of scans."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from csrd.seeds import generator, key64
from csrd.synthetic.anatomies import load
from csrd.synthetic.noise import NoiseBank
from csrd.synthetic.volumes import SyntheticVolume, make_volume
from csrd.train.patches import Batch

SPOT_WEIGHT = 20.0
"""Extra weight of a voxel in a spot, over one elsewhere: spots are few, and readers look for them.

The estimate is a posterior mean for spots that are so much more frequent.
"""
LEAST_VARIANCE = 0.04  # of a target: where less than this is noise, there is little to learn


@dataclass(frozen=True)
class Kept:
    """A volume that patches are cut from: inputs, target and weight in half precision, and its level."""

    inputs: Tensor
    target: Tensor
    weight: Tensor
    log_level: Tensor

    @classmethod
    def of(cls, volume: SyntheticVolume) -> "Kept":
        weight = (1 + SPOT_WEIGHT * volume.spots[None]) / volume.variance.clamp(min=LEAST_VARIANCE)
        return cls(volume.inputs.half(), volume.target.half(), weight.half(), volume.level.log())


class Synthetic:
    """Draws patches from a pool of synthetic volumes, of which the oldest is replaced step by step.

    Patch i of step s depends on (seed, s, i) alone: step s draws from volumes s' … s' + `volumes` − 1,
    s' = s / `steps_per_volume`, and volume v depends on (seed, v) alone. A training that is resumed makes
    the pool anew.
    """

    def __init__(
        self,
        anatomies: Path,
        noise_bank: Path,
        device: torch.device,
        seed: int,
        *,
        patch: int = 64,
        volumes: int = 16,
        steps_per_volume: int = 1,
    ) -> None:
        """`patch` in voxels. A new volume is made every `steps_per_volume` steps."""
        self.device, self.seed, self.patch = torch.device(device), seed, patch
        self.volumes, self.steps_per_volume = volumes, steps_per_volume
        self.heads = load(anatomies, self.device)
        self.bank = NoiseBank(noise_bank, self.device)
        self._pool: OrderedDict[int, Kept] = OrderedDict()

    def volume(self, index: int, with_labels: bool = True) -> SyntheticVolume:
        """Return volume number `index` of this seed."""
        # the training loop draws under autocast, in whose bf16 a filter would be a coarse one
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return make_volume(self.heads, self.bank, self.seed, index, self.patch, with_labels)

    def draw(self, step: int, samples: range) -> Batch:
        """Return patches number `samples` of a step."""
        first = step // self.steps_per_volume
        for index in [index for index in self._pool if not first <= index < first + self.volumes]:
            del self._pool[index]
        for index in range(first, first + self.volumes):
            if index not in self._pool:
                self._pool[index] = self._kept(index)
        cuts = [self._cut(step, i, first) for i in samples]
        inputs, targets, weights, levels = (torch.stack(parts) for parts in zip(*cuts, strict=True))
        generators = [
            torch.Generator(self.device).manual_seed(key64(self.seed, "patch", step, i) % 2**63)
            for i in samples
        ]
        return Batch(inputs, targets, levels, generators, weights)

    def _kept(self, index: int) -> Kept:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return Kept.of(self.volume(index, with_labels=False))

    def _cut(self, step: int, sample: int, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return one patch's inputs (C, x, y, z), target, weights, and the log of its noise level."""
        rng = generator(self.seed, "cut", step, sample)
        kept = self._pool[first + int(rng.integers(self.volumes))]
        starts = [int(rng.integers(n - self.patch + 1)) for n in kept.target.shape[1:]]
        box = (slice(None), *(slice(start, start + self.patch) for start in starts))
        inputs, target, weight = (part[box].float() for part in (kept.inputs, kept.target, kept.weight))
        if rng.random() < 0.5:
            inputs, target, weight = inputs.flip(1), target.flip(1), weight.flip(1)
        return inputs, target, weight, kept.log_level

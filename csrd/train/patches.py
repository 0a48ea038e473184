"""Volumes that live on the device, and the random patches that are cut from them there."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from csrd.seeds import key64


@dataclass(frozen=True)
class Scan:
    """One training pair in model units, on one grid of X × Y × Z voxels.

    `inputs` (C, X, Y, Z), `target` (1, X, Y, Z); `dose` is the log of the dose reduction factor; `left_right`
    is the array axis along which a mirrored head is still a head.
    """

    inputs: Tensor
    target: Tensor
    dose: float
    left_right: int = 0

    def to(self, device: torch.device) -> "Scan":
        """Return the scan on a device."""
        return Scan(self.inputs.to(device), self.target.to(device), self.dose, self.left_right)


@dataclass(frozen=True)
class Batch:
    """Patches: `inputs` (B, C, x, y, z), `target` (B, 1, x, y, z), `dose` (B,), and a generator for each."""

    inputs: Tensor
    target: Tensor
    dose: Tensor
    generators: list[Generator]

    def noise(self) -> Tensor:
        """Return unit Gaussian noise like the target, each patch's from its own generator."""
        shape, device = self.target.shape[1:], self.target.device
        return torch.stack([torch.randn(shape, generator=g, device=device) for g in self.generators])


class Patches:
    """Draws patches from scans: any scan, any place, mirrored or not, each with the same chance.

    Patch i of step s depends on (seed, s, i) alone: not on what was drawn before, nor on how many processes
    share a batch.
    """

    def __init__(
        self,
        scans: list[Scan],
        size: tuple[int | None, int | None, int | None],
        seed: int,
        *,
        coordinates: bool = False,
        mirror: bool = True,
    ) -> None:
        """`size` in voxels (None: the whole axis); `coordinates` adds 3 channels, −1 … 1 over a volume."""
        assert scans, "there is nothing to train on"
        self.scans, self.size, self.seed = scans, size, seed
        self.coordinates, self.mirror = coordinates, mirror

    def draw(self, step: int, samples: range) -> Batch:
        """Return patches number `samples` of a step."""
        device = self.scans[0].inputs.device
        generators = [
            torch.Generator(device).manual_seed(key64(self.seed, "patch", step, i) % 2**63) for i in samples
        ]
        cuts = [self._cut(generator) for generator in generators]
        inputs, targets, doses = zip(*cuts, strict=True)
        dose = torch.tensor(doses, dtype=torch.float32, device=device)
        return Batch(torch.stack(inputs), torch.stack(targets), dose, generators)

    def _cut(self, generator: Generator) -> tuple[Tensor, Tensor, float]:
        """Return one patch's inputs, target and dose."""
        choices = torch.rand(5, generator=generator, device=generator.device).tolist()
        scan = self.scans[int(choices[0] * len(self.scans))]
        shape = scan.target.shape[1:]
        size = [n if part is None else min(part, n) for part, n in zip(self.size, shape, strict=True)]
        starts = [int(u * (n - part + 1)) for u, n, part in zip(choices[1:4], shape, size, strict=True)]
        box = tuple(slice(start, start + part) for start, part in zip(starts, size, strict=True))
        inputs, target = scan.inputs[:, *box], scan.target[:, *box]
        if self.coordinates:
            inputs = torch.cat([inputs, coordinates(shape, inputs.device, box)])
        if self.mirror and choices[4] < 0.5:
            inputs, target = self._mirrored(inputs, scan.left_right), target.flip(1 + scan.left_right)
        return inputs, target, scan.dose

    def _mirrored(self, inputs: Tensor, axis: int) -> Tensor:
        """Return the patch as it stands in the mirrored volume, where its coordinate has the other sign."""
        inputs = inputs.flip(1 + axis)
        if self.coordinates:
            inputs[axis - 3] *= -1
        return inputs


def coordinates(
    shape: tuple[int, int, int], device: torch.device, box: tuple[slice, slice, slice] = (slice(None),) * 3
) -> Tensor:
    """Return x, y, z of voxel centres in −1 … 1 over a volume of this shape, cut to `box`: (3, x, y, z)."""
    axes = [
        torch.linspace(-1, 1, n, device=device)[part] if n > 1 else torch.zeros(1, device=device)
        for n, part in zip(shape, box, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))

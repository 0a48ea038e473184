"""Training volumes on the device, and random patches of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor, nn

from csrd.seeds import key64
from csrd.train.augment import Augmentation

LEAST_MIXED = 0.75
"""The lowest factor of mixed noise, over the scans' own lowest."""


@dataclass(frozen=True)
class Scan:
    """One training pair in model units, on one grid of X × Y × Z voxels.

    `inputs` (C, X, Y, Z), the low dose first; `target` (1, X, Y, Z), low dose minus normal dose; `dose` is
    the log of the dose reduction factor; `unit` is the size of a target of 1 in the inputs; `left_right` is
    the array axis from left to right, along which patches may be mirrored. Scans of one `subject` are on one
    grid and differ in dose or thinning. `measured` is the number of measured voxels of each axis, where the
    others repeat the last.
    """

    inputs: Tensor
    target: Tensor
    dose: float
    unit: float = 1.0
    left_right: int = 0
    subject: str = ""
    measured: tuple[int, ...] | None = None
    voxel_mm: tuple[float, ...] = (1.0, 1.0, 1.0)

    def to(self, device: torch.device) -> "Scan":
        """Return the scan on a device."""
        return replace(self, inputs=self.inputs.to(device), target=self.target.to(device))


@dataclass(frozen=True)
class Batch:
    """Patches: `inputs` (B, C, x, y, z), `target` (B, 1, x, y, z), `dose` (B,), and a generator for each.

    `weight` (B, 1, x, y, z) is the weight of each voxel in the loss; None: 1.
    """

    inputs: Tensor
    target: Tensor
    dose: Tensor
    generators: list[Generator]
    weight: Tensor | None = None

    def noise(self) -> Tensor:
        """Return unit Gaussian noise like the target, each patch's from its own generator."""
        shape, device = self.target.shape[1:], self.target.device
        return torch.stack([torch.randn(shape, generator=g, device=device) for g in self.generators])


class Patches:
    """Random patches of scans: any scan, any place, mirrored or not, each with the same probability.

    Patch i of step s depends on (seed, s, i) alone: not on other patches, nor on the number of
    processes. Scans may be on any device, where patches are cut; their choice does not depend on it, the
    noise of a `Batch` does.
    """

    def __init__(
        self,
        scans: list[Scan],
        size: tuple[int | None, int | None, int | None],
        seed: int,
        *,
        coordinates: bool = False,
        mirror: bool = True,
        mixed: float = 0.0,
        mixed_beyond: float = 1.0,
        augmentation: Augmentation | None = None,
    ) -> None:
        """`size` in voxels (None: the whole axis); `coordinates` adds 3 channels, −1 … 1 over a volume.

        A fraction `mixed` of patches has the noise of all the subject's doses, mixed to another's (`Mixer`),
        up to `mixed_beyond` times the highest factor. `augmentation` changes patches further; None: nothing.
        """
        assert scans, "there is nothing to train on"
        self.scans, self.size, self.seed = scans, size, seed
        self.coordinates, self.mirror, self.mixed = coordinates, mirror, mixed
        self.mixers = [
            Mixer([other for other in scans if other.subject == scan.subject], mixed_beyond) for scan in scans
        ]
        self.augmentation = augmentation or Augmentation()

    def draw(self, step: int, samples: range) -> Batch:
        """Return patches number `samples` of a step."""
        device = self.scans[0].inputs.device
        seeds = [key64(self.seed, "patch", step, i) % 2**63 for i in samples]
        generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        choosing = generators
        if (
            device.type != "cpu"
        ):  # the CPU's choices; to read them from the device would wait for all its work
            choosing = [torch.Generator().manual_seed(seed) for seed in seeds]
        cuts = [self._cut(generator) for generator in choosing]
        inputs, targets, doses = zip(*cuts, strict=True)
        dose = torch.tensor(doses, dtype=torch.float32, device=device)
        return Batch(torch.stack(inputs), torch.stack(targets), dose, generators)

    def _cut(self, generator: Generator) -> tuple[Tensor, Tensor, float]:
        """Return one patch's inputs, target and dose."""
        choices = torch.rand(6, generator=generator, device=generator.device).tolist()
        number = int(choices[0] * len(self.scans))
        scan = self.scans[number]
        shape = scan.target.shape[1:]
        size = [n if part is None else min(part, n) for part, n in zip(self.size, shape, strict=True)]
        starts = [int(u * (n - part + 1)) for u, n, part in zip(choices[1:4], shape, size, strict=True)]
        box = [slice(start, start + part) for start, part in zip(starts, size, strict=True)]
        inputs, target, dose, unit = scan.inputs[:, *box], scan.target[:, *box], scan.dose, scan.unit
        if choices[5] < self.mixed:
            inputs, target, dose, unit = self.mixers[number].mixed(scan, box, generator)
        if self.augmentation.lesions:
            low, normal = inputs[:1], inputs[:1] - unit * target
            low, normal = self.augmentation.with_lesion(low, normal, scan.voxel_mm, generator)
            inputs, target = torch.cat([low, inputs[1:]]), (low - normal) / unit
        inputs = self.augmentation.mr_changed(inputs, scan.inputs, box, scan.voxel_mm, generator)
        if self.coordinates:
            inputs = torch.cat([inputs, coordinates(scan.measured or shape, inputs.device, box)])
        if self.mirror and choices[4] < 0.5:
            inputs = mirrored(inputs, scan.left_right, coordinates=self.coordinates)
            target = target.flip(1 + scan.left_right)
        return inputs, target, dose


class Mixer:
    """Mixes one subject's scans at several doses to scans at doses between and somewhat beyond them.

    Thinnings are drawn independently of each other. Given the normal dose, the residuals r_i at the factors
    d_i are independent too, with variances proportional to d_i − 1 (binomial: d² · N/d · (1 − 1/d)).
    Σ c_i r_i then is a residual at the factor d = 1 + Σ c_i² (d_i − 1).
    """

    def __init__(self, scans: list[Scan], beyond: float) -> None:
        self.scans = scans
        self.excess = np.expm1([scan.dose for scan in scans])  # d - 1
        doses = [scan.dose for scan in scans]
        self.range = min(doses) + math.log(LEAST_MIXED), max(doses) + math.log(beyond)
        units = np.log([scan.unit for scan in scans])
        # the targets' unit follows a power of the dose reduction factor
        self.unit = np.polyfit(doses, units, 1) if len(set(doses)) > 1 else (0.0, units.mean())

    def mixed(
        self, scan: Scan, box: Sequence[slice], generator: Generator
    ) -> tuple[Tensor, Tensor, float, float]:
        """Return inputs and target of `scan`'s subject within `box` at a random dose, its log, and its unit.

        The direction (c_i √(d_i − 1))_i is uniform where no c_i is negative: noise keeps its skewness.
        """
        device = generator.device
        dose = float(np.interp(torch.rand(1, generator=generator, device=device).item(), (0, 1), self.range))
        shares = torch.randn(len(self.scans), generator=generator, device=device).abs().double().cpu().numpy()
        shares *= math.sqrt(math.expm1(dose)) / np.linalg.norm(shares) / np.sqrt(self.excess)
        normal = scan.inputs[:1, *box] - scan.unit * scan.target[:, *box]
        low = normal + sum(
            float(share) * other.unit * other.target[:, *box]
            for share, other in zip(shares, self.scans, strict=True)
        )
        low = low.clamp(min=0)  # as a reconstruction is
        unit = math.exp(np.polyval(self.unit, dose))
        return torch.cat([low, scan.inputs[1:, *box]]), (low - normal) / unit, dose, unit


def mirrored(inputs: Tensor, axis: int = 0, *, coordinates: bool) -> Tensor:
    """Return inputs (C, x, y, z) of a volume mirrored along `axis`.

    Where their last 3 channels are `coordinates`, the one along the axis has the other sign there.
    """
    inputs = inputs.flip(1 + axis)
    if coordinates:
        inputs[axis - 3] *= -1
    return inputs


def translated(x: Tensor, by: int) -> Tensor:
    """Return x (B, C, …) with the first voxels of every axis of space repeated `by` times more."""
    return nn.functional.pad(x, [by, 0] * (x.dim() - 2), mode="replicate") if by else x


def coordinates(
    shape: Sequence[int], device: torch.device, box: Sequence[slice] = (slice(None),) * 3
) -> Tensor:
    """Return x, y, z of voxel centres in −1 … 1 over a volume of this shape, cut to `box`: (3, x, y, z).

    Beyond the volume's end they are constant, as in a volume that was `padded`.
    """
    axes = []
    for n, part in zip(shape, box, strict=True):
        axis = torch.linspace(-1, 1, n, device=device) if n > 1 else torch.zeros(1, device=device)
        beyond = max((part.stop or n) - n, 0)
        axes.append(torch.cat([axis, axis[-1:].expand(beyond)])[part])
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))

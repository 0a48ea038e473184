"""The prompts of a scan on a CUDA device, which reads them once: sorted there, and divided into subsets."""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from csrd.recon.lines_cuda import Accidental, DeviceLines
from csrd.recon.osem import PackedEvents, Part


@dataclass(frozen=True)
class _Held:
    """A part of the prompts: crystals (N, 2), their lines' factors (N,), and the subset of each."""

    crystals: Tensor
    factors: Tensor
    member: Future[np.ndarray]


class DevicePrompts:
    """The prompts on living lines, 12 bytes each, in the parts that they are read in.

    Subsets are drawn as on the CPU, part by part, by a thread beside the reading.
    """

    def __init__(
        self, parts: Iterable[np.ndarray], lines: DeviceLines, subsets: int, draw: np.random.Generator
    ) -> None:
        """Take parts of the prompts' crystals (N, 2), each of which `draw` divides into subsets."""
        self.lines, self.subsets, self.draw = lines, subsets, draw
        self.held: list[_Held] = []
        self.total = 0  # prompts on dead lines included
        with ThreadPoolExecutor(1) as worker:
            for part in parts:
                self._take(part, worker)

    @property
    def count(self) -> int:
        """Return the number of prompts on living lines."""
        return sum(len(part.factors) for part in self.held)

    def _take(self, part: np.ndarray, worker: ThreadPoolExecutor) -> None:
        crystals = self.lines.uploaded(part)
        factors = self.lines.factors(crystals)
        living = factors > 0
        if not bool(living.all()):
            crystals, factors = crystals[living], factors[living]
        self.total += len(part)
        self.held.append(_Held(crystals, factors, worker.submit(self._member, len(factors))))

    def _member(self, number: int) -> np.ndarray:
        member = self.draw.permutation(np.arange(number, dtype=np.uint32)) % np.uint32(self.subsets)
        return member.astype(np.int32)

    def events(self, accidental: Accidental) -> PackedEvents:
        """Return the events with c of their lines, each subset in one piece; the prompts are no longer held.

        Between the two a further 12 bytes an event of one subset are in use.
        """
        pieces: list[list[Part]] = [[] for _ in range(self.subsets)]
        while self.held:
            part = self.held.pop(0)
            additive = self.lines.additive(part.crystals, part.factors, accidental)
            member = part.member.result()
            order = torch.sort(torch.from_numpy(member).to(additive.device), stable=True).indices
            sizes = np.bincount(member, minlength=self.subsets).tolist()
            for number, chosen in enumerate(order.split(sizes)):
                pieces[number].append((part.crystals[chosen], additive[chosen]))
        return PackedEvents([_joined(some) for some in pieces])


def _joined(pieces: list[Part]) -> list[Part]:
    """Return the pieces as one, and empty their list."""
    crystals, additive = (torch.cat(tensors) for tensors in zip(*pieces, strict=True))
    pieces.clear()
    return [(crystals, additive)]

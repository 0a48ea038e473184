"""The model of a scan that other engines are given: the factors of its lines, and the sensitivity.

Every engine maximises the likelihood of counts whose mean on a line is exposure · g · a · ε · ∫ x dl + r, as
the embedded one does: g the detection factor, a the attenuation, ε both crystals' efficiencies, r randoms and
scatter. The exposure carries time, decay, branching and dose, so that x is in Bq/mL at the normal dose.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.listmode import ListMode
from csrd.listmode.timing import Timing
from csrd.recon.corrections import attenuation_factors, randoms_rates
from csrd.recon.embedded import ML_PER_MM3
from csrd.recon.osem import EDGE_OF_VIEW
from csrd.recon.packed import Pass
from csrd.recon.scatter import expected
from csrd.scanner.geometry import Scanner
from csrd.scanner.response import blur, detection_factors


@dataclass(frozen=True)
class Records:
    """Prompts of one block: `ms`, `crystals` (N, 2), and of each line g · ε in mm², a, and r in counts."""

    ms: np.ndarray
    crystals: np.ndarray
    detected: np.ndarray
    attenuation: np.ndarray
    background: np.ndarray


@dataclass(frozen=True)
class EngineModel:
    """A scan, and what an engine needs to have this project's model of it.

    `sensitivity` (mm³) lies on the grid of the image, `mumap` (1/cm) on one at least as wide; `efficiencies`
    is (C,). `rates` (C,) are such that a line has s_a · s_b randoms. `exposure` is in counts per Bq/mL · mm³
    of sensitivity. `scatter` is a table of these events' scatter, for `recon.scatter.expected`; None: not
    corrected. `blur_sigma_mm` is the resolution that the engine models in the image by a Gaussian; 0: none.
    """

    listmode: ListMode
    scanner: Scanner
    mumap: Volume
    efficiencies: np.ndarray
    sensitivity: Volume
    rates: np.ndarray
    exposure: float
    timing: Timing
    blur_sigma_mm: float
    prompts: int
    delayeds: int
    scatter: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        listmode: ListMode,
        scanner: Scanner,
        mumap: Volume,
        efficiencies: np.ndarray,
        sensitivity: Volume,
        drf: float,
        blur_sigma_mm: float,
        scatter: np.ndarray | None = None,
    ) -> "EngineModel":
        """Return the model of a scan that was thinned by `drf`, from one pass over its events.

        `scatter` is the normal dose's, as `recon.scatter.estimate` returns it.
        """
        named, events, fans = Timing.of(listmode), Pass(listmode, "count"), np.zeros(scanner.crystals)
        prompts = 0
        for block in events:
            fans += np.bincount(block.crystals[~block.prompt].ravel(), minlength=scanner.crystals)
            prompts += int(np.count_nonzero(block.prompt))
        if not prompts:
            raise InputError(f"{listmode.path} has no prompts; check that it is an emission scan")
        timing = named.over(events.survey, listmode)
        return cls(
            listmode,
            scanner,
            mumap,
            efficiencies,
            sensitivity,
            randoms_rates(fans, scanner, efficiencies),
            timing.effective_s * ML_PER_MM3 / drf,
            timing,
            blur_sigma_mm,
            prompts,
            round(fans.sum() / 2),
            None if scatter is None else scatter / np.float32(drf),
        )

    def records(self) -> Iterator[Records]:
        """Yield the prompts block by block, without those on lines of dead crystals."""
        positions = self.scanner.crystal_positions
        for block in self.listmode.blocks():
            crystals = block.crystals[block.prompt]
            detected = detection_factors(self.scanner, crystals) * self.efficiencies[crystals].prod(axis=1)
            seen = detected > 0
            crystals, detected = crystals[seen], detected[seen]
            starts, ends = positions[crystals[:, 0]], positions[crystals[:, 1]]
            yield Records(
                block.time_ms[block.prompt][seen],
                crystals,
                detected,
                attenuation_factors(self.mumap, starts, ends),
                self.background(crystals),
            )

    def background(self, crystals: np.ndarray) -> np.ndarray:
        """Return the randoms and the scatter expected on lines between `crystals` (N, 2), (N,).

        Of each line the lower crystal is the first.
        """
        randoms = self.rates[crystals].prod(axis=1)
        if self.scatter is None:
            return randoms
        return randoms + expected(self.scatter, crystals, self.efficiencies, self.scanner)

    def counts_per_unit(self) -> Volume:
        """Return the counts of a unit of activity in each voxel, blurred as the engine blurs."""
        voxel = self.sensitivity.voxel_mm
        counts = blur(self.sensitivity.array * np.float32(self.exposure), voxel, self.blur_sigma_mm, 0, 0)
        return self.sensitivity.like(counts.astype(np.float32), "")

    def start(self, counts: Volume) -> Volume:
        """Return the uniform image of as many counts as there are prompts, to begin with, in Bq/mL.

        From an image of ones an engine loses several updates. `counts` is `counts_per_unit`'s.
        """
        seen = counts.array > EDGE_OF_VIEW * counts.array.max()
        value = self.prompts / counts.array[seen].sum(dtype=float)
        return counts.like(np.where(seen, value, 0).astype(np.float32), "Bq/mL")

    def lookup(self, order: np.ndarray | None = None) -> np.ndarray:
        """Return centre in mm and outward normal of the crystals, (C, 6) float32, in `order` if given."""
        normals = self.scanner.head_normals.repeat(self.scanner.crystals_per_head, axis=0)
        table = np.concatenate([self.scanner.crystal_positions, normals], axis=1).astype("<f4")
        return table if order is None else table[order]

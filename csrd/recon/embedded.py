"""The embedded engine: one list-mode file to one image in Bq/mL."""

import math
from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.config.sections import Recon
from csrd.errors import InputError
from csrd.io.volume import NOTES_KEY, Volume
from csrd.listmode import EventBlock, ListMode
from csrd.listmode.base import Survey
from csrd.listmode.thin import FACTOR, drf_of
from csrd.listmode.timing import Timing
from csrd.recon.corrections import Prompts, attenuation_factors, randoms_rates
from csrd.recon.osem import osem
from csrd.recon.scatter import estimate, expected
from csrd.scanner.geometry import Scanner
from csrd.scanner.response import detection_factors
from csrd.seeds import generator

ML_PER_MM3 = 1e-3
EVENTS_AT_A_TIME = 1_000_000
SIGMA_PER_FWHM = 1 / math.sqrt(8 * math.log(2))
SCATTER_METHOD = "single-scatter simulation, multiple scatter by known fractions"


def reconstruct(
    listmode: ListMode,
    mumap: Volume,
    efficiencies: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    recon: Recon,
    drf: float,
    seed: int,
    subject: str,
    scatter: np.ndarray | None = None,
    scatter_table: np.ndarray | None = None,
) -> tuple[Volume, dict]:
    """Return the image in Bq/mL at the scan's start, scaled to the normal dose, and its sidecar.

    `mumap` (1/cm) and `sensitivity` (mm³, see `recon.sensitivity`) lie on the same grid, which becomes
    the image's; `efficiencies` is (C,). `drf` says by how much the events were thinned: the expected
    trues carry 1/drf, the randoms come from the delayeds, which were thinned alike. `scatter`, if
    known, is the expected number of scattered events on each prompt's line, in the file's order;
    `scatter_table` what `estimated_scatter` returns, of the normal dose. Without either, `recon.scatter`
    says whether it is estimated from these events.
    Raises InputError where the file has no prompts or its header contradicts `drf`.
    """
    check_header(listmode, drf)
    prompts, timing = prepared(listmode, mumap, efficiencies, scanner, drf)
    method = "none"
    if scatter is not None:
        assert scatter.shape == (prompts.of_file,), (
            f"scatter of {scatter.shape} for {prompts.of_file} prompts"
        )
        scatter, method = scatter[prompts.order], "given"
    elif scatter_table is not None or (recon.estimates_scatter and mumap.array.any()):
        method = f"{SCATTER_METHOD}, from {'this dose' if scatter_table is None else 'the normal dose'}"
        if scatter_table is None:
            grids = mumap, efficiencies, sensitivity, scanner
            scatter_table, _ = estimate(prompts, *grids, drf, seed, subject, recon.device)
        scatter = expected(scatter_table, prompts.crystals, efficiencies, scanner) / np.float32(drf)
    image = osem(
        prompts.crystals,
        prompts.additive(scatter),
        sensitivity.like(sensitivity.array * prompts.exposure),
        scanner,
        recon.psf,
        recon.subsets,
        recon.iterations,
        generator(seed, "osem", subject, drf),
        recon.device,
    )
    if recon.postfilter_fwhm_mm:
        image = gaussian_filter(image, recon.postfilter_fwhm_mm * SIGMA_PER_FWHM / sensitivity.voxel_mm)
    sidecar = _sidecar(recon, timing, drf, prompts)
    sidecar["ScatterCorrectionMethod"] = method
    return sensitivity.like(image, "Bq/mL"), sidecar


def estimated_scatter(
    listmode: ListMode,
    mumap: Volume,
    efficiencies: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    recon: Recon,
    drf: float,
    seed: int,
    subject: str,
) -> tuple[np.ndarray, float]:
    """Return the scatter of a scan as a table for `reconstruct`, of the normal dose, and its fraction.

    Arguments as in `reconstruct`; see `recon.scatter`.
    """
    check_header(listmode, drf)
    prompts, _ = prepared(listmode, mumap, efficiencies, scanner, drf)
    return estimate(prompts, mumap, efficiencies, sensitivity, scanner, drf, seed, subject, recon.device)


def prepared(
    listmode: ListMode, mumap: Volume, efficiencies: np.ndarray, scanner: Scanner, drf: float
) -> tuple[Prompts, Timing]:
    """Return the prompts of a file with randoms and factors of their lines, and the scan's timing."""
    events = Events(listmode)
    prompts, fans = _sorted(events, scanner)
    timing = Timing.of(listmode).over(events.survey, listmode)
    if not len(prompts):
        raise InputError(f"{listmode.path} has no prompts; check that it is an emission scan")
    order = scanner.neighbours_first(prompts)
    of_file, prompts = len(prompts), prompts[order]
    rates = randoms_rates(fans, scanner, efficiencies)
    randoms = rates[prompts[:, 0]] * rates[prompts[:, 1]]
    factors = detection(prompts, mumap, efficiencies, scanner)
    if not (seen := factors > 0).all():  # a crystal said to be dead: nothing on its lines can be explained
        if not seen.any():
            raise InputError(f"{listmode.path} has prompts on dead lines only; check the efficiencies")
        prompts, randoms, factors, order = prompts[seen], randoms[seen], factors[seen], order[seen]
    # Counts per (Bq/mL · mm) of line integral, but for g, a and ε
    exposure = timing.effective_s * ML_PER_MM3 / drf
    return Prompts(prompts, randoms, factors, exposure, fans.sum() / 2, order, of_file), timing


def detection(crystals: np.ndarray, mumap: Volume, efficiencies: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return g · a · ε of each event's line, (N,) float32 in mm²."""
    positions = scanner.crystal_positions
    factors = np.empty(len(crystals), np.float32)
    for first in range(0, len(crystals), EVENTS_AT_A_TIME):
        part = slice(first, first + EVENTS_AT_A_TIME)
        a, b = crystals[part].T
        factors[part] = detection_factors(scanner, crystals[part]) * efficiencies[a] * efficiencies[b]
        factors[part] *= attenuation_factors(mumap, positions[a], positions[b])
    return factors


class Events:
    """One pass over a list-mode file: iterate over the blocks, then read the survey of what it held."""

    survey: Survey

    def __init__(self, listmode: ListMode) -> None:
        self.listmode: ListMode = listmode

    def __iter__(self) -> Iterator[EventBlock]:
        self.survey = yield from self.listmode.blocks()


def _sorted(events: Events, scanner: Scanner) -> tuple[np.ndarray, np.ndarray]:
    """Return the prompts' crystals (N, 2) and each crystal's number of delayeds (C,)."""
    prompts, fans = [np.empty((0, 2), np.uint32)], np.zeros(scanner.crystals)
    for block in events:
        prompts.append(block.crystals[block.prompt])
        fans += np.bincount(block.crystals[~block.prompt].ravel(), minlength=scanner.crystals)
    return np.concatenate(prompts), fans


def check_header(listmode: ListMode, drf: float) -> None:
    """Raise InputError where a header lacks the timing or names another dose reduction factor than `drf`."""
    Timing.of(listmode)
    named = drf_of(listmode) if FACTOR in listmode.header else drf
    if not math.isclose(named, drf):
        raise InputError(
            f"{listmode.path} says it was thinned by {named:g}, not {drf:g}; give --drf {named:g}"
        )


def _sidecar(recon: Recon, timing: Timing, drf: float, prompts: Prompts) -> dict:
    """Return what a reader of the image must know, with BIDS PET's keys where it has them."""
    return {
        "Units": "Bq/mL",
        "ReconMethodName": "3D OP-OSEM, list-mode",
        "ReconMethodParameterLabels": ["subsets", "iterations"],
        "ReconMethodParameterUnits": ["none", "none"],
        "ReconMethodParameterValues": [recon.subsets, recon.iterations],
        "ReconFilterType": "Gaussian" if recon.postfilter_fwhm_mm else "none",
        "ReconFilterSize": recon.postfilter_fwhm_mm,
        "PointSpreadModel": recon.psf.model_dump() if recon.psf else "none",
        "AttenuationCorrection": "μ-map",
        "RandomsCorrectionMethod": "smoothed crystal rates from delayeds",
        "ScatterCorrectionMethod": "none",
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
        "FrameTimesStart": [0],
        "FrameDuration": [timing.duration_s],
        "RadionuclideHalfLife": timing.half_life_s,
        "DeadTimeCorrectionFactor": 1 / timing.live,
        **({NOTES_KEY: list(timing.notes)} if timing.notes else {}),
        "DoseReductionFactor": drf,
        "DoseScaling": "the expected trues carry 1/drf, so the image has the normal dose's mean",
        "CalibrationFactor": prompts.exposure,
        "Prompts": len(prompts.crystals),
        "Delayeds": int(prompts.total_randoms),
    }

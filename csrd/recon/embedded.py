"""The embedded engine: one list-mode file to one image in Bq/mL."""

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.errors import InputError
from csrd.io.volume import NOTES_KEY, Volume
from csrd.listmode import ListMode
from csrd.listmode.thin import FACTOR, drf_of
from csrd.listmode.timing import Timing
from csrd.recon.corrections import Prompts, attenuation_factors, randoms_rates
from csrd.recon.osem import osem, osem_of, projector_on
from csrd.recon.packed import Pass, Sample, is_long, neighbours_first, packed, prompts_in_parts
from csrd.recon.scatter import EVENTS, estimate, expected
from csrd.scanner import projector
from csrd.scanner.geometry import Scanner
from csrd.scanner.response import detection_factors
from csrd.seeds import generator
from csrd.units import SIGMA_PER_FWHM

if TYPE_CHECKING:
    from csrd.config.sections import Recon

ML_PER_MM3 = 1e-3
EVENTS_AT_A_TIME = 1_000_000
SCATTER_METHOD = "single-scatter simulation, multiple scatter by known fractions"


def reconstruct(
    listmode: ListMode,
    mumap: Volume,
    efficiencies: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    recon: "Recon",
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
    draw = generator(seed, "osem", subject, drf)
    if scatter is None and projector_on(recon.device) is not projector:
        arrays = mumap, efficiencies, sensitivity, scanner
        return _on_device(listmode, *arrays, recon, drf, seed, subject, draw, scatter_table)
    method = "none" if scatter is None else "given"
    if scatter is None and (scatter_table is not None or (recon.estimates_scatter and mumap.array.any())):
        method = _scatter_method(scatter_table)
        if scatter_table is None:
            arrays = mumap, efficiencies, sensitivity, scanner
            scatter_table, _ = estimated_scatter(listmode, *arrays, recon, drf, seed, subject)
    if is_long(listmode) and scatter is None:
        pet, sidecar = _long(
            listmode, mumap, efficiencies, sensitivity, scanner, recon, drf, draw, scatter_table
        )
        return pet, sidecar | {"ScatterCorrectionMethod": method}
    events = Pass(listmode, "read")
    prompts, fans = _prompts_and_fans(events, scanner)
    timing = Timing.of(listmode).over(events.survey, listmode)
    if not len(prompts):
        raise InputError(f"{listmode.path} has no prompts; check that it is an emission scan")
    order = scanner.neighbours_first(prompts)
    prompts = prompts[order]
    rates = randoms_rates(fans, scanner, efficiencies)
    # Counts per (Bq/mL · mm) of line integral, but for g, a and ε
    exposure = timing.effective_s * ML_PER_MM3 / drf
    accidental = rates[prompts[:, 0]] * rates[prompts[:, 1]]
    if scatter is not None:
        assert scatter.shape == accidental.shape, f"scatter of {scatter.shape} for {len(prompts)} prompts"
        accidental += scatter[order]
    elif scatter_table is not None:
        scattered = expected(scatter_table, prompts, efficiencies, scanner, recon.device)
        accidental += scattered / np.float32(drf)
    factors = detection(prompts, mumap, efficiencies, scanner)
    if not (seen := factors > 0).all():  # lines of dead crystals
        if not seen.any():
            raise InputError(f"{listmode.path} has prompts on dead lines only; check the efficiencies")
        prompts, accidental, factors = prompts[seen], accidental[seen], factors[seen]
    additive = accidental / (exposure * factors)
    image = osem(
        prompts,
        additive.astype(np.float32),
        sensitivity.like(sensitivity.array * exposure),
        scanner,
        recon.psf,
        recon.subsets,
        recon.iterations,
        draw,
        recon.device,
    )
    randoms = fans.sum() / 2
    return _filtered(image, sensitivity, recon), sidecar_of(recon, timing, drf, len(prompts), randoms, method)


def _long(
    listmode: ListMode,
    mumap: Volume,
    efficiencies: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    recon: "Recon",
    drf: float,
    draw: np.random.Generator,
    scatter_table: np.ndarray | None,
) -> tuple[Volume, dict]:
    """Return what `reconstruct` does for a long scan, whose events are read in two passes and packed."""
    counted, fans = Pass(listmode, "count"), np.zeros(scanner.crystals)
    for block in counted:
        fans += np.bincount(block.crystals[~block.prompt].ravel(), minlength=scanner.crystals)
    timing = Timing.of(listmode).over(counted.survey, listmode)
    rates, exposure = randoms_rates(fans, scanner, efficiencies), timing.effective_s * ML_PER_MM3 / drf

    def additive(crystals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factors = detection(crystals, mumap, efficiencies, scanner)
        crystals, factors = crystals[factors > 0], factors[factors > 0]
        accidental = rates[crystals[:, 0]] * rates[crystals[:, 1]]
        if scatter_table is not None:
            scattered = expected(scatter_table, crystals, efficiencies, scanner, recon.device)
            accidental += scattered / np.float32(drf)
        return crystals, (accidental / (exposure * factors)).astype(np.float32)

    parts = neighbours_first(prompts_in_parts(Pass(listmode, "prepare")), scanner)
    events = packed(parts, additive, recon.subsets, draw)
    if not events.count:
        raise InputError(f"{listmode.path} has no prompts on living lines; check scan and efficiencies")
    share = sensitivity.like(sensitivity.array * exposure)
    image = osem_of(events, share, scanner, recon.psf, recon.iterations, recon.device)
    sidecar = sidecar_of(recon, timing, drf, events.count, fans.sum() / 2, "none")
    return _filtered(image, sensitivity, recon), sidecar


def _on_device(
    listmode: ListMode,
    mumap: Volume,
    efficiencies: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    recon: "Recon",
    drf: float,
    seed: int,
    subject: str,
    draw: np.random.Generator,
    scatter_table: np.ndarray | None,
) -> tuple[Volume, dict]:
    """Return what `reconstruct` does, on a CUDA device, which takes the events in one pass over the file."""
    from csrd.recon.events_cuda import DevicePrompts
    from csrd.recon.lines_cuda import Accidental, DeviceLines

    blocks, sample = Pass(listmode, "read"), Sample(scanner, EVENTS)
    parts = prompts_in_parts(sample.seen(blocks), whole=not is_long(listmode))
    held = DevicePrompts(parts, DeviceLines(scanner, mumap, efficiencies), recon.subsets, draw)
    if not held.count:
        raise InputError(f"{listmode.path} has no prompts on living lines; check scan and efficiencies")
    timing, method = Timing.of(listmode).over(blocks.survey, listmode), "none"
    if scatter_table is not None or (recon.estimates_scatter and mumap.array.any()):
        method = _scatter_method(scatter_table)
        if scatter_table is None:
            prompts = _prompts_of(sample, timing, mumap, efficiencies, scanner, drf)
            of_scan = efficiencies, sensitivity, scanner, drf, seed, subject, recon.device
            scatter_table, _ = estimate(prompts, mumap, *of_scan)
    exposure = timing.effective_s * ML_PER_MM3 / drf
    rates = randoms_rates(sample.fans, scanner, efficiencies)
    events = held.events(Accidental(scanner, rates, scatter_table, drf, exposure))
    share = sensitivity.like(sensitivity.array * exposure)
    image = osem_of(events, share, scanner, recon.psf, recon.iterations, recon.device)
    sidecar = sidecar_of(recon, timing, drf, events.count, sample.fans.sum() / 2, method)
    return _filtered(image, sensitivity, recon), sidecar


def _filtered(image: np.ndarray, grid: Volume, recon: "Recon") -> Volume:
    """Return an image (X, Y, Z) in Bq/mL on a grid, after the filter that follows the reconstruction."""
    if recon.postfilter_fwhm_mm:
        image = gaussian_filter(image, recon.postfilter_fwhm_mm * SIGMA_PER_FWHM / grid.voxel_mm)
    return grid.like(image, "Bq/mL")


def _scatter_method(table: np.ndarray | None) -> str:
    """Return the sidecar's words on scatter that is estimated, or was from the normal dose."""
    return f"{SCATTER_METHOD}, from {'this dose' if table is None else 'the normal dose'}"


def estimated_scatter(
    listmode: ListMode,
    mumap: Volume,
    efficiencies: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    recon: "Recon",
    drf: float,
    seed: int,
    subject: str,
) -> tuple[np.ndarray, float]:
    """Return the scatter of a scan as a table for `reconstruct`, of the normal dose, and its fraction.

    Arguments as in `reconstruct`; see `recon.scatter`.
    """
    check_header(listmode, drf)
    prompts = some_prompts(listmode, mumap, efficiencies, scanner, drf)
    return estimate(prompts, mumap, efficiencies, sensitivity, scanner, drf, seed, subject, recon.device)


def some_prompts(
    listmode: ListMode, mumap: Volume, efficiencies: np.ndarray, scanner: Scanner, drf: float
) -> Prompts:
    """Return every n-th prompt of a file, at most `EVENTS`, and at least half as many where it has more."""
    blocks, sample = Pass(listmode, "sample"), Sample(scanner, EVENTS)
    for _ in sample.seen(blocks):
        pass
    timing = Timing.of(listmode).over(blocks.survey, listmode)
    if not len(sample.crystals):
        raise InputError(f"{listmode.path} has no prompts; check that it is an emission scan")
    return _prompts_of(sample, timing, mumap, efficiencies, scanner, drf)


def _prompts_of(
    sample: Sample, timing: Timing, mumap: Volume, efficiencies: np.ndarray, scanner: Scanner, drf: float
) -> Prompts:
    """Return a sample of the prompts with what is known of their lines."""
    crystals = sample.crystals[scanner.neighbours_first(sample.crystals)]
    factors = detection(crystals, mumap, efficiencies, scanner)
    crystals, factors = crystals[factors > 0], factors[factors > 0]
    rates = randoms_rates(sample.fans, scanner, efficiencies)
    randoms = rates[crystals[:, 0]] * rates[crystals[:, 1]]
    exposure = timing.effective_s * ML_PER_MM3 / drf
    return Prompts(crystals, randoms, factors, exposure, sample.fans.sum() / 2, sample.every)


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


def _prompts_and_fans(events: Pass, scanner: Scanner) -> tuple[np.ndarray, np.ndarray]:
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


def sidecar_of(
    recon: "Recon", timing: Timing, drf: float, prompts: int, delayeds: float, scatter: str
) -> dict:
    """Return the image's sidecar, with the keys of BIDS PET where there are any."""
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
        "ScatterCorrectionMethod": scatter,
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
        "FrameTimesStart": [timing.start_s],
        "FrameDuration": [timing.duration_s],
        "RadionuclideHalfLife": timing.half_life_s,
        "DeadTimeCorrectionFactor": 1 / timing.live,
        **({NOTES_KEY: list(timing.notes)} if timing.notes else {}),
        "DoseReductionFactor": drf,
        "DoseScaling": "the expected trues carry 1/drf, so the image has the normal dose's mean",
        "CalibrationFactor": timing.effective_s * ML_PER_MM3 / drf,
        "Prompts": prompts,
        "Delayeds": int(delayeds),
    }

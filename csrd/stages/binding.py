"""The dynamic virtual cohort: BP_ND by region, method and dose, against what was put in."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from csrd.config.sections import Kinetics
from csrd.errors import naming
from csrd.io.bids import inherited, save_with_sidecar
from csrd.io.files import read_json, write_json, write_text
from csrd.io.frames import Frames, read_frames, static_image
from csrd.io.tables import read_csv, write_csv, write_rows
from csrd.io.volume import Volume
from csrd.kinetics.filters import gaussian, hypr
from csrd.kinetics.models import Fit, Reference, Value, common_k2_reference, decay_weights
from csrd.report.binding import binding_page, bp_figure, by_region, curves_figure
from csrd.stages.binding_truth import Curves, Truth
from csrd.stages.dynamic import EMPTY_KEY, NOISY_KEY
from csrd.units import KBQ_PER_BQ
from csrd.virtual.regions import REGIONS
from csrd.virtual.tracer import Tracer, read_tracer

STRENGTHS_MM = {
    "gaussian": (2.0, 3.0, 4.0, 6.0, 8.0),
    "hypr": (6.0, 8.0, 10.0, 12.0, 16.0),
    "csrdhypr": (6.0, 8.0, 10.0, 12.0, 16.0),
}
"""FWHM in mm that are compared on the validation subjects, by filter.

Below the images' resolution, about 6 mm, HYPR gives the frame back and nothing of the composite.
"""
FILTERED = tuple(STRENGTHS_MM)
METHODS = ("lowdose", "gaussian", "hypr", "csrd", "csrdhypr")
WORST = 1.0
"""Relative error that counts for a region whose BP_ND is not determined, and at most for any other."""
USUAL = Kinetics()
FOR_CURVES = ["region", "start", "end", "value"]
FOR_BINDING = ["draw", "passed", "model", "region", "voxels", "bp", "r1", "put_in", "resolved", "noise_free"]

Paths = Sequence[str | Path]


def means(lows: Paths, images: Paths) -> None:
    """Write the image of all counts of each dynamic scan, decay-corrected as one frame, and its sidecar."""
    for low, image in zip(lows, images, strict=True):
        frames = _frames(low)
        assert frames.times is not None, "the reconstruction writes the times"
        found = static_image(frames, frames.times.starts[0], float(_edges(frames)[-1]))
        save_with_sidecar(found.volume, image, found.sidecar)


def fits(
    curves: Curves, reference: str, edges: np.ndarray, half_life_s: float, kinetics: Kinetics
) -> dict[str, dict[str, Fit]]:
    """Return the fits of SRTM and a linear model by model and region, weighted as `csrd kinetics` does.

    The linear model is Logan's plot where `kinetics` has it, else MRTM2. Its k2' is that of `kinetics`, or
    the one that SRTM's best known regions share; without one it has no fits.
    """
    kept = ~np.isin(np.arange(1, len(edges)), kinetics.exclude_frames)
    starts, durations = edges[:-1][kept], np.diff(edges)[kept]
    weights = decay_weights(starts, durations, half_life_s)
    fitted = Reference(starts, durations, curves[reference][kept], weights)
    targets = {name: values[kept] for name, values in curves.items() if name != reference}
    srtm = {name: fitted.srtm(values) for name, values in targets.items()}
    given = Value(kinetics.k2prime / 60, 0.0) if kinetics.k2prime else None
    k2, error = given or common_k2_reference(list(srtm.values()))
    fit = fitted.logan if kinetics.model == "logan" else fitted.mrtm2
    late = kinetics.t_star or 0
    linear = {name: fit(values, k2, late, error) for name, values in targets.items()} if k2 > 0 else {}
    return {"srtm": srtm, "logan" if kinetics.model == "logan" else "mrtm2": linear}


def tune(
    lows: Paths,
    means: Paths,
    denoised: Paths,
    activity: Paths,
    labels: Paths,
    normals: Paths,
    strengths: str | Path,
    *,
    tracer: str | Path,
    drfs: Sequence[int],
    draws: int,
    kinetics: Kinetics = USUAL,
) -> None:
    """Write the strength in mm of each filter at each dose, chosen on validation subjects, and all errors.

    The error is the root mean square over regions, scans and subjects of SRTM's BP_ND over what was put in,
    minus 1, each at most `WORST`. Files are by subject, then dose, then draw; `means` are those of the lows,
    `denoised` the same by CSR-D, `normals` the mean image of each subject's normal dose. Of `kinetics` the
    reference and the frames that are left out are used.
    """
    isotope = read_tracer(tracer)
    errors: dict[tuple[str, int, float], list[float]] = {}
    per_subject = len(drfs) * draws
    for number, normal in enumerate(normals):
        part = slice(number * per_subject, (number + 1) * per_subject)
        sources = zip(lows[part], means[part], denoised[part], product(drfs, range(draws)), strict=True)
        truth: Truth | None = None
        for low, mean, guide, (drf, _) in sources:
            frames = _frames(low)
            truth = truth or _truth(activity[number], labels[number], isotope, frames, normal, kinetics)
            for fwhm, key, curves in _filtered(frames, truth, mean, guide, STRENGTHS_MM):
                found = fits(curves, truth.reference, _edges(frames), isotope.half_life_s, kinetics)["srtm"]
                errors.setdefault((key, drf, fwhm), []).extend(
                    _error(found[name], truth.put_in[name]) for name in truth.targets
                )
    rms = {at: float(np.sqrt(np.mean(np.square(found)))) for at, found in errors.items()}
    chosen = {
        key: {str(drf): min((rms[key, drf, fwhm], fwhm) for fwhm in compared)[1] for drf in drfs}
        for key, compared in STRENGTHS_MM.items()
    }
    table = [{"method": k, "drf": d, "fwhm_mm": f, "rms_error": round(e, 5)} for (k, d, f), e in rms.items()]
    write_json(strengths, {"FWHM_mm": chosen, "Compared": table})


def measure(
    lows: Paths,
    means: Paths,
    denoised: Paths,
    framewise: Paths,
    activity: str | Path,
    labels: str | Path,
    normal: str | Path,
    strengths: str | Path,
    binding: str | Path,
    curves: str | Path,
    *,
    tracer: str | Path,
    drfs: Sequence[int],
    draws: int,
    subject: str,
    kinetics: Kinetics = USUAL,
) -> dict[str, Any]:
    """Write one test subject's BP_ND by dose, method, scan, model and region, and its curves in kBq/mL.

    Files are by dose, then draw: dynamic scans `lows`, their `means`, these `denoised` by CSR-D, and the
    scans denoised frame by frame. BP_ND that is not determined is empty. `put_in`, `resolved` and
    `noise_free` are those of the truth: as put in, and fitted to noise-free curves at the images' resolution
    and before any blur. `strengths` is what `tune` writes, `kinetics` the choices for `fits` and the
    reference region. Return the images' resolution.
    """
    isotope, chosen = read_tracer(tracer), read_json(strengths)["FWHM_mm"]
    rows, lines, truth = [], [], None
    for low, mean, guide, of_frames, (drf, draw) in zip(
        lows, means, denoised, framewise, product(drfs, range(1, draws + 1)), strict=True
    ):
        frames = _frames(low)
        edges = _edges(frames)
        if truth is None:
            truth = _truth(activity, labels, isotope, frames, normal, kinetics)
            clean = [fits(found, truth.reference, edges, isotope.half_life_s, kinetics)
                     for found in (truth.resolved, truth.sharp)]  # fmt: skip
            for key, found in (("resolved", truth.resolved), ("truth", truth.sharp)):
                lines += _lines(found, edges, subject, 0, key, 1)
        of_method = {"lowdose": truth.curves([frame.volume.array for frame in frames])}
        of_method["csrd"] = truth.curves([frame.volume.array for frame in _frames(of_frames)])
        used = {key: [by_dose[str(drf)]] for key, by_dose in chosen.items()}
        of_method |= {key: found for _, key, found in _filtered(frames, truth, mean, guide, used)}
        left = _passed(of_frames)
        for method in METHODS:
            found, passed = of_method[method], left if method == "csrd" else 0
            lines += _lines(found, edges, subject, drf, method, draw)
            of_models = fits(found, truth.reference, edges, isotope.half_life_s, kinetics)
            for model, of_model in of_models.items():
                of_truth = {name: [one[model][name].bp.value for one in clean] for name in truth.targets}
                for name, *values in _estimates(truth, of_model, of_truth):
                    rows.append((subject, drf, method, draw, passed, model, name, *values))
    write_rows(rows, FOR_BINDING, binding)
    write_rows(lines, ["draw", *FOR_CURVES], curves)
    assert truth is not None, "a subject has scans"
    return {"resolution_mm": round(truth.fwhm_mm, 2)}


def report(
    binding: Paths,
    curves: Paths,
    strengths: str | Path,
    *,
    table: str | Path,
    pooled: str | Path,
    figure: str | Path,
    picture: str | Path,
    page: str | Path,
    title: str,
) -> None:
    """Write bias and spread of BP_ND by region, method and dose, all regions pooled, two figures and a page.

    `binding` and `curves` are those of `measure`, a file a test subject; their rows are written together.
    """
    import pandas as pd

    rows = pd.concat([read_csv(path) for path in binding], ignore_index=True)
    lines = pd.concat([read_csv(path) for path in curves], ignore_index=True)
    found = by_region(rows)
    write_csv(found.regions, table)
    write_csv(found.pooled, pooled)
    bp_figure(figure, found.regions)
    curves_figure(picture, lines)
    write_text(page, binding_page(found, read_json(strengths), figure, picture, title))


def _truth(
    activity: str | Path,
    labels: str | Path,
    tracer: Tracer,
    frames: Frames,
    normal: str | Path,
    kinetics: Kinetics,
) -> Truth:
    images = Volume.load(activity), Volume.load(labels, unit="label")
    with naming(normal):
        return Truth.of(*images, tracer, _edges(frames), Volume.load(normal), kinetics.reference)


def _frames(path: str | Path) -> Frames:
    frames = read_frames(path)
    assert frames is not None and frames.times is not None, "the reconstruction writes frames and times"
    return frames


def _passed(path: str | Path) -> int:
    """Return how many frames of a denoised scan were left as they were (`csrd.stages.dynamic`)."""
    said = inherited(path)
    return sum(len(said.get(key, ())) for key in (EMPTY_KEY, NOISY_KEY))


def _edges(frames: Frames) -> np.ndarray:
    """Return the edges of frames that follow one another, (N + 1,) in s."""
    assert frames.times is not None, "the reconstruction writes the times"
    return np.append(frames.times.starts, frames.times.starts[-1] + frames.times.durations[-1])


def _filtered(
    frames: Frames,
    truth: Truth,
    mean: str | Path,
    guide: str | Path,
    strengths: Mapping[str, Sequence[float]],
) -> Iterator[tuple[float, str, Curves]]:
    """Yield the curves of a scan after each filter of each of its strengths."""
    voxel = frames.grid.voxel_mm
    composites = {"hypr": Volume.load(mean).array, "csrdhypr": Volume.load(guide).array}
    for fwhm in sorted({fwhm for compared in strengths.values() for fwhm in compared}):
        keys = [key for key, compared in strengths.items() if fwhm in compared]
        smooth = {key: gaussian(composites[key], fwhm, voxel) for key in keys if key in composites}
        images: dict[str, list[np.ndarray]] = {key: [] for key in keys}
        for frame in frames:
            low = gaussian(frame.volume.array, fwhm, voxel)
            for key in keys:
                image = hypr(low, composites[key], smooth[key]) if key in smooth else low
                images[key].append(image)
        for key, of_key in images.items():
            yield fwhm, key, truth.curves(of_key)


def _estimates(
    truth: Truth, fits: Mapping[str, Fit], of_truth: Mapping[str, Sequence[float]]
) -> Iterator[tuple[Any, ...]]:
    """Yield region, voxels, BP_ND, R1, and the truth's BP_ND; NaN where it is not determined."""
    voxels = np.bincount(truth.labels.ravel(), minlength=max(truth.names) + 1)
    for name in truth.targets:
        fit = fits.get(name)
        values = (fit.bp.value, fit.r1.value) if fit is not None and fit.determined else (np.nan, np.nan)
        yield name, int(voxels[REGIONS[name]]), *values, truth.put_in[name], *of_truth[name]


def _error(fit: Fit, wanted: float) -> float:
    """Return the relative error of an estimate, at most `WORST`."""
    return min(abs(fit.bp.value / wanted - 1), WORST) if fit.determined else WORST


def _lines(
    curves: Curves, edges: np.ndarray, subject: str, drf: int, method: str, draw: int
) -> list[tuple[object, ...]]:
    """Return the rows of curves in kBq/mL."""
    return [
        (subject, drf, method, draw, name, float(start), float(end), float(value) * KBQ_PER_BQ)
        for name, values in curves.items()
        for start, end, value in zip(edges, edges[1:], values, strict=False)
    ]

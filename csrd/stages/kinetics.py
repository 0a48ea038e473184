"""Time-activity curves of a dynamic scan, and binding potentials from them."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from csrd.align.labels import majority, read_labels, write_names
from csrd.errors import InputError, naming, notice
from csrd.extras import require
from csrd.io.bids import bids_uri, save_with_sidecar
from csrd.io.files import refuse_locked, write_json, write_text
from csrd.io.frames import Frames, read_frames
from csrd.io.images import read_mr
from csrd.io.volume import NOTES_KEY
from csrd.kinetics.curves import Curves, region_means
from csrd.kinetics.models import Fit, Reference, Value, common_k2_reference, decay_weights
from csrd.kinetics.tables import read_tacs, sidecar_of_table, write_tacs
from csrd.nuclides import NUCLIDES, nuclide_named
from csrd.progress import progress
from csrd.virtual.atlas import atlas

MODELS = ("srtm", "mrtm2", "logan")
LATEST_START_S = 60.0
"""The models integrate curves from the injection on; a scan that starts later after it is refused."""
MOST_LABELS = 1000
COLUMNS = ("name", "BPND", "BPND_se", "R1", "R1_se", "k2prime", "k2prime_se")
KEPT = (
    *("Units", "TracerName", "TracerRadionuclide", "RadionuclideHalfLife", "TimeZero", "InjectionStart"),
    *("ImageDecayCorrected", "ImageDecayCorrectionTime"),
)
"""Entries of a scan's sidecar that its curves keep."""


def tacs(
    pet: str | Path,
    table: str | Path,
    *,
    labels: str | Path | None = None,
    mr: str | Path | None = None,
    regions: str | Path | None = None,
    virtual: bool = False,
    units: str | None = None,
    seed: int = 2024,
    threads: int = 1,
) -> None:
    """Write the mean activity of each region in each frame of a dynamic scan, and a sidecar.

    The regions are those of `find_regions`, which are written to `regions` where that is given.
    Raises InputError where the scan has one frame or no times, or there are neither labels nor an MR.
    """
    _check_table(table)
    refuse_locked(table)
    frames = _dynamic(pet, labels, mr, units)
    if frames.times is None or frames.times.overlap:
        raise InputError(
            f"{pet} does not say when its frames are; write FrameTimesStart and FrameDuration (s) into its "
            "sidecar"
        )
    array, names, source = _regions(frames, labels, mr, virtual, seed, threads)
    if regions is not None:
        _write_regions(frames, array, names, source, regions)
    series = (frame.volume.array for frame in progress(frames, "tacs: frames", frames.count))
    with naming(pet):
        values, voxels = region_means(series, array, names)
    if lost := sorted(set(names.values()) - voxels.keys()):
        notice(f"{pet} has no voxel of {', '.join(lost)}: left out")
    facts = {key: frames.sidecar[key] for key in KEPT if key in frames.sidecar}
    facts |= {"Units": frames.grid.unit} if frames.grid.unit else {}
    facts |= {"Sources": [bids_uri(pet)], "Regions": source, "RegionVoxels": voxels}
    facts |= {"frame_start": {"Units": "s"}, "frame_end": {"Units": "s"}}
    facts |= {NOTES_KEY: list(frames.notes)} if frames.notes else {}
    write_tacs(Curves(frames.times.starts, frames.times.durations, tuple(voxels), values, facts), table)


def find_regions(
    pet: str | Path,
    regions: str | Path,
    *,
    labels: str | Path | None = None,
    mr: str | Path | None = None,
    virtual: bool = False,
    units: str | None = None,
    seed: int = 2024,
    threads: int = 1,
) -> None:
    """Write the labels of regions on the grid of a dynamic scan, their names in the `.tsv` beside them.

    `labels` are in the PET's coordinates or, with an `mr`, in that of the MR, which is registered to the
    frames' mean. Without labels the packaged atlas is matched to the MR. Labels of a `virtual` head have
    the names of its regions.
    Raises InputError where the scan has one frame, or there are neither labels nor an MR.
    """
    frames = _dynamic(pet, labels, mr, units)
    _write_regions(frames, *_regions(frames, labels, mr, virtual, seed, threads), regions)


def _dynamic(pet: str | Path, labels: str | Path | None, mr: str | Path | None, units: str | None) -> Frames:
    """Return a dynamic scan, for which there are regions."""
    if labels is None and mr is None:
        raise InputError("there are no regions; give --labels, or --mr for those of the packaged atlas")
    frames = read_frames(pet, units)
    if frames is None:
        raise InputError(f"{pet} has one frame; time-activity curves need a dynamic scan")
    return frames


def _write_regions(
    frames: Frames, array: np.ndarray, names: dict[int, str], source: str, regions: str | Path
) -> None:
    """Write those labels that have names on the grid of the frames, a sidecar, and the table of the names."""
    if not str(regions).endswith((".nii.gz", ".nii")):
        raise InputError(f"the regions are {regions}; name them with .nii.gz")
    volume = frames.grid.like(np.where(np.isin(array, list(names)), array, array.dtype.type(0)), "label")
    assert frames.path is not None, "what is written was read from a file"
    save_with_sidecar(volume, regions, {"Sources": [bids_uri(frames.path)], "Description": source})
    write_names(names, regions)


def _regions(
    frames: Frames,
    labels: str | Path | None,
    mr: str | Path | None,
    virtual: bool,
    seed: int,
    threads: int,
) -> tuple[np.ndarray, dict[int, str], str]:
    """Return labels on the grid of the frames, the regions' names, and a sentence about their origin."""
    matrix, anatomy = None, None
    if mr is not None:
        from csrd.align.register import register

        require("register", "registering an MR")
        anatomy = read_mr(mr).volume
        mean = frames.mean(range(frames.count), frames.weights)
        with naming(mr):
            matrix = None if anatomy.same_grid(mean) else register(anatomy, mean, seed, threads)
    if labels is not None:
        found, names = read_labels(labels, MOST_LABELS)
        names = atlas().regions if virtual else names
        return majority(found, frames.grid, matrix), names, f"labels of {Path(labels).name}"
    from csrd.align.atlas import atlas_labels

    assert anatomy is not None, "without labels there is an MR"
    on_mr = anatomy.like(atlas_labels(anatomy, seed, threads), "label")
    text = "the packaged atlas (ICBM152, Desikan-Killiany), matched to the MR by a deformable registration"
    return majority(on_mr, frames.grid, matrix), atlas().regions, text


def kinetics(
    curves: str | Path,
    table: str | Path,
    *,
    reference: str,
    model: str = "srtm",
    k2prime: float | None = None,
    t_star: float | None = None,
    exclude_frames: Collection[int] = (),
) -> None:
    """Write BP_ND, R1 and k2' of each region by a model against a reference region, and a sidecar.

    `k2prime` is in 1/min. MRTM2 and Logan without one use the k2' that SRTM's best known regions share.
    `t_star`, in s after TimeZero, is the start of the first frame of MRTM2 (0) or Logan, which needs it.
    `exclude_frames` are numbers of frames, from 1 on, that are left out: curves are linear in such a gap.
    Raises InputError where the reference is no region, the scan starts late, or too few frames remain.
    """
    _check_table(table)
    if model not in MODELS:
        raise InputError(f"--model is {model!r}; write one of {', '.join(MODELS)}")
    if k2prime is not None and not k2prime > 0:
        raise InputError(f"--k2prime is {k2prime:g}; give a rate above 0 in 1/min")
    if model == "srtm" and (k2prime is not None or t_star is not None):
        raise InputError("SRTM estimates k2' from all frames; leave --k2prime and --t-star out")
    if model == "logan" and t_star is None:
        raise InputError("Logan's plot is a line from some time on; give it as --t-star in s, as 2100")
    found = read_tacs(curves)
    with naming(curves):
        found = found.without(exclude_frames)
        curve = found.of(reference)
        _check_start(found)
        _check_count(found, t_star or 0)
        weights, weighting = _weights(found)
        fitted = Reference(found.starts, found.durations, curve, weights)
    others = [name for name in found.names if name != reference]
    rows: dict[str, Fit] = {}
    if model == "srtm" or k2prime is None:
        rows = {name: fitted.srtm(found.of(name)) for name in others}
    shared = common_k2_reference(list(rows.values())) if k2prime is None else Value(k2prime / 60, 0.0)
    if model != "srtm":
        if not shared.value > 0:
            raise InputError(f"k2' cannot be estimated from {curves}; give it as --k2prime in 1/min")
        late = t_star or 0
        fit = fitted.mrtm2 if model == "mrtm2" else fitted.logan
        rows = {name: fit(found.of(name), shared.value, late, shared.error) for name in others}
    for name, row in rows.items():
        if row.bounded:
            notice(f"{curves}: SRTM's k2a of {name} is at the end of its range; its BPND is not determined")
    lines = ["\t".join(COLUMNS), *("\t".join([name, *_cells(row)]) for name, row in rows.items())]
    write_text(table, "\n".join(lines) + "\n")
    facts: dict = {
        "Model": model,
        "Reference": reference,
        "Weights": weighting,
        "Sources": [Path(curves).name],
    }
    facts |= {"TStar": t_star or 0} if model != "srtm" else {}
    facts |= {"ExcludedFrames": sorted(exclude_frames)} if exclude_frames else {}
    facts |= {"k2primeSource": "given" if k2prime else "SRTM"}
    facts |= {"k2prime": {"Units": "1/min"}, "NotDetermined": [n for n, row in rows.items() if row.bounded]}
    write_json(sidecar_of_table(table), facts)


def _cells(fit: Fit) -> list[str]:
    """Return a row's numbers, k2' in 1/min; n/a where a model has none."""
    k2 = Value(fit.k2_reference.value * 60, fit.k2_reference.error * 60)
    numbers = [*fit.bp, *fit.r1, *k2]
    return ["n/a" if fit.bounded or not np.isfinite(number) else f"{number:.6g}" for number in numbers]


def _check_table(table: str | Path) -> None:
    if Path(table).suffix != ".tsv":
        raise InputError(f"the table is {table}; name it with .tsv")


def _check_start(curves: Curves) -> None:
    """Raise InputError where a scan starts too long after the injection."""
    injection = curves.facts.get("InjectionStart", 0)
    if not isinstance(injection, int | float):
        raise InputError(f"InjectionStart is {injection!r} in the sidecar; write s after TimeZero")
    if (late := float(curves.starts[0]) - injection) > LATEST_START_S:
        raise InputError(
            f"the first frame starts {late:g} s after the injection; the models need the curves from then on"
        )


def _check_count(curves: Curves, t_star: float) -> None:
    """Raise InputError where fewer than four frames remain."""
    if (count := int((curves.starts >= t_star).sum())) < 4:
        raise InputError(f"{count} frames start at {t_star:g} s or later; at least 4 are needed")


def _weights(curves: Curves) -> tuple[np.ndarray, str]:
    """Return the frames' weights (N,) and a sentence: duration, times the activity that had not decayed."""
    nuclide = NUCLIDES.get(nuclide_named(str(curves.facts.get("TracerRadionuclide", ""))) or "")
    half_life = curves.facts.get("RadionuclideHalfLife") or (nuclide and nuclide.half_life_s)
    if curves.facts.get("ImageDecayCorrected") is False or not isinstance(half_life, int | float):
        notice("the frames are weighted by duration alone: a nuclide or a decay correction is not known")
        return curves.durations, "duration of the frame"
    text = "duration of the frame, times the fraction that has not decayed at its middle"
    return decay_weights(curves.starts, curves.durations, half_life), text

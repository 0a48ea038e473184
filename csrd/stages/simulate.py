"""Simulation of a virtual subject: its anatomy, MR and uptake, and its scan by the virtual scanner."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from csrd.errors import InputError, naming
from csrd.extras import require
from csrd.io.files import write_json
from csrd.io.normalisation import write_efficiencies
from csrd.io.volume import Volume
from csrd.listmode import WRITERS
from csrd.listmode.base import TimingKeys
from csrd.listmode.hrrt import Segment
from csrd.scanner.geometry import Scanner, hrrt
from csrd.virtual import tracer as tracers
from csrd.virtual.acquire import Acquisition, acquire, crystal_efficiencies
from csrd.virtual.anatomy import make_anatomy
from csrd.virtual.course import Course, mean_activity
from csrd.virtual.mr import simulate_mr
from csrd.virtual.tracer import Tracer, read_tracer

Writer = Callable[[str | Path, Iterator[Segment]], None]


def simulate_anatomy(
    tracer: str | Path,
    facts: Mapping[str, Any],
    *,
    mr: str | Path,
    mumap: str | Path,
    facts_out: str | Path,
    activity: str | Path,
    labels: str | Path,
    brainmask: str | Path,
    mr_to_pet: str | Path,
    start_s: float,
    voxel_mm: float,
    seed: int,
    subject: str,
    t1w: str | Path | None = None,
    tested: bool = False,
    frames: Sequence[float] | None = None,
) -> None:
    """Write one subject's images as in a real study, and the ground truth.

    `tracer` is the table of uptake by region, `facts` are tracer, weight and injected activity; with a `t1w`
    the brain is made from that skull-stripped image. `start_s` is the scan's start after the injection;
    a `tested` subject has the spots of the test set (`csrd.virtual.spots.fixed_spots`). Of a dynamic scan,
    with `frames` (their durations in s) from the injection on, the activity is the mean over its decays.
    Raises InputError for an unusable `tracer` or `t1w`.
    """
    require("virtual", "simulating a subject")
    brain = Volume.load(t1w, unit="arbitrary") if t1w else None
    with naming(t1w or "the packaged template"):
        anatomy = make_anatomy(seed, subject, voxel_mm, t1w=brain)
    image, matrix = simulate_mr(anatomy, seed, subject)
    uptake = _read_tracer(tracer, frames)
    person = facts["injected_MBq"], facts["weight_kg"]
    if frames:
        start_s = 0.0
        pet, spots = mean_activity(anatomy, uptake, seed, subject, *person, sum(frames), tested=tested)
    else:
        pet, spots = tracers.activity(anatomy, uptake, seed, subject, *person, start_s, tested=tested)

    image.save(mr)
    anatomy.mumap.save(mumap)
    pet.save(activity)
    anatomy.labels.save(labels)
    anatomy.brain.save(brainmask)
    write_json(mr_to_pet, {"matrix": matrix.tolist(), "spots": [asdict(spot) for spot in spots]})
    decay = 2 ** (-start_s / uptake.half_life_s)
    write_json(facts_out, {**facts, "activity_MBq": facts["injected_MBq"] * decay})


def simulate_scan(
    tracer: str | Path,
    activity: str | Path,
    mumap: str | Path,
    *,
    listmode: str | Path,
    normalisation: str | Path,
    duration_s: float,
    randoms_fraction: float,
    seed: int,
    subject: str,
    threads: int = 1,
    scatter: bool = False,
    frames: Sequence[float] | None = None,
    labels: str | Path | None = None,
    repeat: int = 1,
    device: str = "auto",
) -> dict[str, int]:
    """Write the list-mode of a scan by the virtual HRRT, and its crystal efficiencies; return the counts.

    `activity` is in Bq/mL at the scan's start, `mumap` in 1/cm. Photons that scatter in the body are followed
    with `scatter` only. The files are the same for any number of threads and on any `device`. With `frames`,
    durations in s, the scan lasts as long as these, and the activity in the regions of `labels` follows the
    tracer's kinetics. Each `repeat` is another scan of the same subject by the same crystals.
    """
    isotope, scanner = _read_tracer(tracer, frames), hrrt()
    efficiencies = crystal_efficiencies(scanner, seed, subject)
    images, course = (Volume.load(activity), Volume.load(mumap)), None
    if frames:
        assert labels is not None and isotope.kinetics is not None, "regions, and the kinetics of each"
        regions = Volume.load(labels, unit="label")
        course = Course.of(regions, isotope.kinetics, isotope.half_life_s, frames)
        duration_s = float(course.edges_s[-1])
    acquisition = Acquisition(duration_s, isotope.half_life_s, isotope.branching, randoms_fraction, scatter)
    name = subject if repeat == 1 else f"{subject} repeat {repeat}"
    counts = write_scan(
        listmode,
        *images,
        efficiencies,
        scanner,
        acquisition,
        seed,
        name,
        threads,
        course=course,
        device=device,
    )
    write_efficiencies(efficiencies, normalisation)
    return counts


def _read_tracer(path: str | Path, frames: Sequence[float] | None) -> Tracer:
    """Return a tracer; raises InputError where a dynamic scan's has no kinetics."""
    tracer = read_tracer(path)
    if frames and tracer.kinetics is None:
        raise InputError(
            f"{path} has no kinetics, but acquisition.frames is given; add the columns bp and r1 "
            "(config/tracers/DASB.tsv), or set frames to null"
        )
    return tracer


def write_scan(
    path: str | Path,
    activity: Volume,
    mumap: Volume,
    efficiencies: np.ndarray,
    scanner: Scanner,
    acquisition: Acquisition,
    seed: int,
    subject: str,
    threads: int = 1,
    header: Mapping[str, str] | None = None,
    write: Writer | None = None,
    kinds: list[np.ndarray] | None = None,
    course: Course | None = None,
    device: str = "cpu",
) -> dict[str, int]:
    """Write the list-mode of a virtual scan (see `csrd.virtual.acquire.acquire`); return the counts.

    The format is the scanner's, unless a function `write` is given; `header` adds or replaces keys of the
    file's header. `kinds` takes the events' kinds, segment by segment.
    """
    counts: Counter[str] = Counter(trues=0, scattered=0, random_prompts=0, delayeds=0)
    how = acquisition, seed, subject, threads, counts, kinds, course, device
    segments = acquire(activity, mumap, efficiencies, scanner, *how)
    if write is not None:
        write(path, segments)
    else:
        listmode, write_format = WRITERS[scanner.name]
        write_format(path, segments, _header(acquisition, listmode.timing_keys) | dict(header or {}))
    return {**counts, "prompts": counts["trues"] + counts["scattered"] + counts["random_prompts"]}


def _header(acquisition: Acquisition, keys: TimingKeys) -> dict[str, str]:
    """Return the timing under the keys of a format's header."""
    assert keys.duration_s is not None, "a virtual scan's format has a key for its duration"
    return {
        keys.duration_s: f"{acquisition.duration_s:.12g}",
        keys.half_life_s: f"{acquisition.half_life_s:g}",
        keys.branching: f"{acquisition.branching:g}",
        keys.dead_time: "1.0",
    }

"""Change of Table 1 when networks are trained with other threads or on another processor.

    python benchmarks/threads.py results [--config config/config.yaml] [--methods unet csrd] [--steps 300]

The methods are fitted on the aligned images of a run, applied to its test subjects and evaluated, each time
from the start: by one thread (twice: the same bits), by two, with the instructions of a processor without
AVX-512, and in bf16, which a CPU with matrix units computes in (there: in fp32). Prints, for each column, the
largest difference of a cell (mean or standard deviation of a method) and of an image from those of the first.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
import yaml

from csrd import cohort
from csrd.config import Config, load
from csrd.io.bids import Scan
from csrd.io.tables import KEYS, read_csv
from csrd.io.volume import Volume
from csrd.methods import FitContext, method
from csrd.methods.base.denoise import Shown
from csrd.methods.base.train import train
from csrd.report.table import metrics_in, table1
from csrd.stages.evaluate import evaluate, merge
from csrd.stages.fit import aligned_pairs
from csrd.train import device


@dataclass(frozen=True)
class Place:
    """Where a training runs."""

    name: str
    threads: int = 1
    other_precision: bool = False
    environment: dict[str, str] = field(default_factory=dict)


OLDER = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
PLACES = (
    Place("1 thread"),
    Place("again"),
    Place("2 threads", threads=2),
    Place("without AVX-512", environment=OLDER),
    Place("other precision", other_precision=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path, help="of a run that has aligned its subjects")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="the one of that run")
    parser.add_argument("--methods", nargs="+", help="instead of all that are trained")
    parser.add_argument("--steps", type=int, help="of each training, instead of the configuration's")
    parser.add_argument("--place", type=int, help=argparse.SUPPRESS)  # for the processes it starts
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    settings = load(yaml.safe_load(given.config.read_text()))
    methods = given.methods or list(settings.learned_methods)
    if given.place is not None:
        in_place(PLACES[given.place], given, settings, methods)
        return
    with TemporaryDirectory(prefix="csrd-threads-") as name:
        first = started(0, Path(name))
        cells = cells_of(first)
        keys = metrics_in(cells)
        print(f"{', '.join(methods)}; {len(first) // len(methods)} images each")
        row("", [f"{key:>10s}" for key in keys])
        row("mean over the methods", [f"{cells[f'{key}_mean'].mean():10.4g}" for key in keys])
        for index, place in list(enumerate(PLACES))[1:]:
            other = started(index, Path(name))
            moved, images = (cells_of(other) - cells).abs().max(), (other[keys] - first[keys]).abs().max()
            by_cell = [moved[[f"{key}_mean", f"{key}_std"]].max() for key in keys]
            row(f"{place.name}, of a cell", [f"{value:10.2g}" for value in by_cell])
            row(f"{place.name}, of an image", [f"{images[key]:10.2g}" for key in keys])


def row(name: str, columns: list[str]) -> None:
    print(f"{name:28s}" + "".join(columns), flush=True)


def cells_of(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the means and standard deviations of Table 1, a row a method."""
    methods, subjects = sorted(set(metrics["method"])), sorted(set(metrics["subject"]))
    return table1(metrics, methods, subjects).set_index("method").drop(columns="n")


def started(index: int, folder: Path) -> pd.DataFrame:
    """Return the metrics of a training in its place, which a process of its own takes."""
    place, out = PLACES[index], folder / f"{index}.csv"
    environment = os.environ | place.environment | {"OMP_NUM_THREADS": str(place.threads)}
    command = [sys.executable, *sys.argv, "--place", str(index), "--out", str(out)]
    subprocess.run(command, env=environment, check=True)
    return read_csv(out).sort_values(KEYS, ignore_index=True)


def in_place(place: Place, given: argparse.Namespace, settings: Config, methods: list[str]) -> None:
    """Fit, apply and evaluate the methods, and write their metrics into `given.out`."""
    if place.other_precision:
        usual = device._has_bf16("cpu")
        device._has_bf16 = lambda kind: not usual
    subjects = {subject.id: subject for subject in cohort.subjects(settings)}
    aligned = given.results / "derivatives" / "csrd"
    fitted_on = {name: s.split for name, s in subjects.items() if s.split in ("train", "validation")}
    pairs = aligned_pairs(aligned, fitted_on, settings.train_drfs)
    with TemporaryDirectory(prefix="csrd-threads-") as name:
        folder = Path(name)
        for key in methods:
            asked = settings.of_method(key)
            if given.steps:
                asked = asked.updated(training={"steps": given.steps})
            context = FitContext(settings.seed, settings.metrics, place.threads)
            train(key, pairs, asked, folder / key, context)
        torch.set_num_threads(1)  # as the rules that denoise and evaluate have it
        fitted = {key: method(key).load(folder / key) for key in methods}
        tables = []
        for subject in (name for name, s in subjects.items() if s.split == "test"):
            tests = aligned_pairs(aligned, {subject: "test"}, settings.drfs)
            images = [folder / f"{subject}_{drf}_{key}.nii.gz" for key in methods for drf in settings.drfs]
            for image, (key, pair) in zip(images, product(methods, tests), strict=True):
                low, mr = Volume.load(pair.low), Volume.load(pair.mr, unit="arbitrary")
                Shown.to(fitted[key], low, mr).denoised(pair.drf, with_std=False)[1].save(image)
            outs = [folder / f"{subject}_{key}.csv" for key in methods]
            about = {"methods": methods, "drfs": settings.drfs, "metrics": settings.metrics}
            about |= {"lows": [pair.low for pair in tests], "subject": subject}
            facts = given.results / "raw" / f"{Scan(subject).name('subject')}.json"
            evaluate(images, tests[0].normal, tests[0].mask, tables=outs, facts=facts, **about)
            tables += outs
        merge(tables, given.out)


if __name__ == "__main__":
    main()

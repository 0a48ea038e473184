"""Ablation of CSR-D: one change in each row, from the paper's recipe to the default, at equal training time.

    python benchmarks/ablation.py RESULTS [--seconds 180] [--row NAME ...] [--seed N ...] [--out FILE.jsonl]
    python benchmarks/ablation.py RESULTS --table [--by-dose]

RESULTS is a finished run: its aligned training subjects are trained on, its validation subjects measured, at
the doses that methods may see; its test subjects are not read. A row takes the steps that `--seconds` of CPU
time on one thread hold, by a measurement just before. It is added to the file as a line of JSON as soon as it
is done, so that the same command continues after an interruption; `--table` prints what the file holds.
docs/ablation.md describes the rows of benchmarks/ablation_rows.py.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from ablation_rows import LADDER, VARIANTS, Row, chosen, difference, rows
from network import step
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from csrd.cohort import subjects
from csrd.config import Config, load
from csrd.config.sections import Metrics
from csrd.diffusion.precondition import Denoiser
from csrd.errors import InputError, plain_errors
from csrd.io.files import read_json
from csrd.io.volume import Volume
from csrd.methods import FitContext, TrainingPair
from csrd.methods.csrd import CRITERIA, SIGMA_DATA, Csrd, CsrdSettings
from csrd.metrics import METRICS
from csrd.metrics.evaluate import metrics_of
from csrd.metrics.metric import Metric
from csrd.stages.fit import aligned_pairs
from csrd.train.patches import Batch

WARM, MEASURED = 4, 16  # steps before a row's training that are not timed, and that are
SMALL = 32  # voxels along a patch by which the paper's step is estimated
UNTRAINED = ("sampler", "samples", "mirror", "shift")  # settings that change images, but no weight

Records = dict[str, list[dict]]
"""What the file holds by row, a record a seed."""


class Timed(Csrd):
    """CSR-D that notes the CPU time at which each step starts, and selects no product: all are measured."""

    starts: ClassVar[list[float]] = []

    def losses(self, batch: Batch) -> Tensor:
        self.starts.append(time.process_time())
        return super().losses(batch)

    def select(self, validation: list[TrainingPair], metrics: Metrics) -> dict:
        return {}

    @classmethod
    def seconds_a_step(cls, warm: int = 0) -> float:
        """Return the median CPU time from one step to the next; validations in between do not change it."""
        return float(np.median(np.diff(cls.starts[warm:])))


class Ablation:
    """Trains rows on the pairs of split "train" and measures them on those of "validation"."""

    def __init__(self, pairs: list[TrainingPair], seconds: float, sampled: Iterable[int]) -> None:
        self.pairs, self.seconds, self.sampled = pairs, seconds, set(sampled)
        self.validation = [pair for pair in pairs if pair.split == "validation"]
        if not self.validation:
            raise InputError("the run has no validation subject to measure on; give it one")
        self.metrics: dict[str, dict[str, Metric]] = {}
        self.last: tuple[dict, Timed, dict] | None = None

    def run(self, wanted: list[Row], seed: int, out: Path) -> None:
        """Measure the rows that the file lacks, adding a line for each."""
        for row in wanted:
            settings = row.settings
            key = {"row": row.name, "seed": seed, "seconds": self.seconds, "settings": settings}
            if any(key.items() <= record.items() for record in read(out)):
                continue
            print(f"{row.name}, {row.idea}:", *difference(row.changes), flush=True)
            record = {**key, "idea": row.idea, "changes": row.changes, **self.of(row, settings, seed)}
            out.parent.mkdir(parents=True, exist_ok=True)
            with open(out, "a") as stream:
                stream.write(json.dumps(record) + "\n")

    def of(self, row: Row, settings: dict, seed: int) -> dict[str, Any]:
        """Return what is measured of a row."""
        if row.name == "lowdose":
            return {"mean": {name(pair): self.compared(pair, pair.low) for pair in self.validation}}
        if row.name == "paper":
            return estimated(settings)
        method, training = self.trained(settings, seed)
        return {**training, **self.products(method)}

    def trained(self, settings: dict, seed: int) -> tuple[Timed, dict[str, Any]]:
        """Return the fitted method, and steps and CPU seconds of its training.

        Where only the images are made otherwise than in the row before, its weights are taken.
        """
        of_weights = {key: value for key, value in settings.items() if key not in UNTRAINED} | {"seed": seed}
        if self.last and self.last[0] == of_weights:
            _, before, training = self.last
            method = Timed(
                CsrdSettings(**settings), before.calibration, seed, network=before.network, card=before.card
            )
        else:
            method, training = self._trained(settings, seed)
        self.last = of_weights, method, training
        return method, training

    def _trained(self, settings: dict, seed: int) -> tuple[Timed, dict[str, Any]]:
        self._fit([pair for pair in self.pairs if pair.split == "train"], settings, seed, WARM + MEASURED)
        steps = max(round(self.seconds / Timed.seconds_a_step(WARM)), 2)
        method = self._fit(self.pairs, settings, seed, steps)
        weights, average = method.card["parameters"], method.card["ema_std"]
        step_s = Timed.seconds_a_step()
        return method, {"steps": steps, "step_s": step_s, "weights": weights, "average": average}

    def _fit(self, pairs: list[TrainingPair], settings: dict, seed: int, steps: int) -> Timed:
        longer = CsrdSettings(**settings).updated(training={"steps": steps})
        Timed.starts.clear()
        with TemporaryDirectory() as folder:
            Timed.fit(pairs, longer, Path(folder, "csrd"), FitContext(seed))
            return Timed.load(Path(folder, "csrd"))

    def products(self, method: Timed) -> dict[str, Any]:
        """Return the metrics of the posterior mean and of a sample by image, and what they take.

        A sample's seconds are those beyond the mean's; `evaluations` are the network's, of mean and sample.
        """
        means, samples = {}, {}
        for pair in self.validation:
            drawn, mean_s = timed(lambda: method.posterior(pair.low, pair.mr, pair.drf, 0))  # noqa: B023
            means[name(pair)] = self.compared(pair, drawn.image(drawn.mean)) | {"s": mean_s}
            if pair.drf in self.sampled:
                drawn, both_s = timed(lambda: method.posterior(pair.low, pair.mr, pair.drf, 1))  # noqa: B023
                image = drawn.image(drawn.samples[0])
                samples[name(pair)] = self.compared(pair, image) | {"s": both_s - mean_s}
        settings = method.settings
        views = (1 + settings.mirror) * (1 + settings.shift) if settings.blank > 0 else 1
        count = [views, 2 * settings.sampler.steps - 1]
        return {"mean": means, "sample": samples, "evaluations": count}

    def compared(self, pair: TrainingPair, image: Volume) -> dict[str, float]:
        """Return Table 1's metrics of an image of the pair; the reference's features are computed once."""
        if pair.subject not in self.metrics:
            self.metrics[pair.subject] = metrics_of(pair.normal, pair.mask.array > 0, Metrics())
        return {key: self.metrics[pair.subject][key](image) for key in CRITERIA}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--seconds", type=float, default=180.0, help="CPU time of each row's training")
    parser.add_argument("--row", nargs="+", help=f"of {' '.join(row.name for row in rows())}; all")
    parser.add_argument("--seed", nargs="+", type=int, help="of weights and patches; the run's own")
    parser.add_argument("--sampled", nargs="*", type=int, default=[6], help="doses that a sample is drawn at")
    parser.add_argument("--out", type=Path, help="the file of rows; RESULTS/ablation.jsonl")
    parser.add_argument("--config", type=Path, help="the run's configuration; that in its run.json")
    parser.add_argument("--table", action="store_true", help="print the tables of what has been measured")
    parser.add_argument("--by-dose", action="store_true", help="a table a dose instead of their mean")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with plain_errors():
        out = given.out or given.results / "ablation.jsonl"
        if not given.table:
            wanted, config = chosen(given.row), made_by(given.results, given.config)
            splits = {one.id: one.split for one in subjects(config) if one.split in ("train", "validation")}
            pairs = aligned_pairs(given.results / "derivatives" / "csrd", splits, config.train_drfs)
            ablation = Ablation([pair.load() for pair in pairs], given.seconds, given.sampled)
            for seed in given.seed or [config.seed]:
                ablation.run(wanted, seed, out)
        print("\n\n".join(report(records(out, given.seconds), given.by_dose)))


def made_by(results: Path, path: Path | None) -> Config:
    """Return the configuration of a run."""
    return load(yaml.safe_load(path.read_text()) if path else read_json(results / "run.json")["config"])


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and its CPU seconds."""
    start = time.process_time()
    return call(), time.process_time() - start


def estimated(settings: dict) -> dict[str, Any]:
    """Return what a step would take: one small patch, measured, times the voxels of a batch.

    Attention, whose operations grow faster, is a thousandth of all.
    """
    denoiser, device = Denoiser(Csrd(CsrdSettings(**settings)).build(), SIGMA_DATA), torch.device("cpu")
    with FlopCounterMode(display=False) as counter:
        step(denoiser, SMALL, 1, device)
    _, seconds = timed(lambda: step(denoiser, SMALL, 1, device))
    ratio = settings["training"]["batch"] * (settings["patch"] / SMALL) ** 3
    return {
        "weights": sum(weight.numel() for weight in denoiser.parameters()),
        "estimated": True,
        "step_s": seconds * ratio,
        "step_tflop": counter.get_total_flops() * ratio / 1e12,
    }


def read(path: Path) -> list[dict]:
    """Return the file's records; a last line that was cut short is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def records(path: Path, seconds: float) -> Records:
    """Return the file's latest record of each row and seed at a training time, in the rows' order.

    Raises InputError where there are none.
    """
    latest = {
        (record["row"], record["seed"]): record for record in read(path) if record["seconds"] == seconds
    }
    if not latest:
        raise InputError(
            f"{path} has no rows of {seconds:g} s; measure some, or give the --seconds of others"
        )
    found = {row.name: [record for (key, _), record in latest.items() if key == row.name] for row in rows()}
    return {key: of_row for key, of_row in found.items() if of_row}


def report(found: Records, by_dose: bool) -> Iterator[str]:
    """Yield Markdown tables of posterior means and of samples, and how far apart seeds are."""
    images = {image for of_row in found.values() for record in of_row for image in record.get("mean", ())}
    doses = sorted({dose(image) for image in images})
    variants = {key for key, *_ in VARIANTS}
    ladder = {key: of_row for key, of_row in found.items() if key not in variants}
    changed = {key: of_row for key, of_row in found.items() if key in variants | {LADDER[-1][0]}}
    for at in [[drf] for drf in doses] if by_dose else [doses]:
        yield f"Posterior mean at {listed(at)} ×, each row changing the one above it:"
        yield means_table(ladder, at)
        if variants & set(found):
            yield f"Posterior mean at {listed(at)} ×, each row changing the default:"
            yield means_table(changed, at)
    if any(record.get("sample") for of_row in ladder.values() for record in of_row):
        yield "One sample, each row changing the one above it:"
        yield samples_table(ladder)
    for key, of_row in found.items():
        if len(of_row) > 1:
            psnr = [np.mean(values([record], "mean", "psnr", doses)) for record in of_row]
            spread = np.std(psnr, ddof=1)
            yield f"{key}: mean of {len(psnr)} seeds; standard deviation of their PSNR {spread:.2f} dB."


def means_table(found: Records, doses: list[int]) -> str:
    head = ["row", "idea", "settings", "weights (M)", "steps", "s/step", "s/evaluation", *labels()]
    lines = []
    for key, of_row in found.items():
        first = of_row[0]
        seconds = "step_s" in first and np.mean([record["step_s"] for record in of_row])
        each = values(of_row, "mean", "s", doses)
        lines.append(
            [
                key,
                first["idea"],
                "; ".join(difference(first["changes"])),
                f"{first['weights'] / 1e6:.2f}" if "weights" in first else "",
                f"{np.mean([record['steps'] for record in of_row]):.0f}" if "steps" in first else "",
                (f"{seconds:.0f}, estimated" if "estimated" in first else f"{seconds:.3f}")
                if seconds
                else "",
                f"{np.mean(each) / first['evaluations'][0]:.2f}" if each else "",
                *cells(of_row, "mean", doses),
            ]
        )
    return markdown(head, lines)


def samples_table(found: Records) -> str:
    """Return the samples' metrics beside the PSNR of the mean of the same images."""
    head = ["row", "at", "evaluations", "s", *labels(), "PSNR of the mean"]
    lines = []
    for key, of_row in found.items():
        doses = sorted({dose(image) for record in of_row for image in record.get("sample", ())})
        if doses:
            seconds, psnr = values(of_row, "sample", "s", doses), values(of_row, "mean", "psnr", doses)
            count = of_row[0]["evaluations"][1]
            what = [key, f"{listed(doses)} ×", f"{count}", f"{np.mean(seconds):.1f}"]
            lines.append([*what, *cells(of_row, "sample", doses), f"{np.mean(psnr):.2f}"])
    return markdown(head, lines)


def cells(of_row: list[dict], product: str, doses: list[int]) -> list[str]:
    """Return each metric's mean over images and seeds; MAE is in the images' unit, Bq/mL or SUV."""
    found = {key: values(of_row, product, key, doses) for key in CRITERIA}
    means = {key: np.mean(items) for key, items in found.items() if items}
    decimals = {key: METRICS[key].decimals for key in CRITERIA}
    if means.get("mae", 0) > 100:
        decimals["mae"] = 0
    return [f"{means[key]:,.{decimals[key]}f}" if key in means else "" for key in CRITERIA]


def values(of_row: list[dict], product: str, key: str, doses: list[int]) -> list[float]:
    """Return one figure of each image of a product at the doses."""
    images = [item for record in of_row for item in record.get(product, {}).items()]
    return [figures[key] for image, figures in images if dose(image) in doses and key in figures]


def name(pair: TrainingPair) -> str:
    return f"{pair.subject} {pair.drf}"


def dose(image: str) -> int:
    return int(image.split()[-1])


def labels() -> list[str]:
    return [METRICS[key].label for key in CRITERIA]


def listed(items: Iterable[Any]) -> str:
    return ", ".join(map(str, items))


def markdown(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines))


if __name__ == "__main__":
    main()

"""PSNR against P_dist of what each learned method offers on validation subjects, and one rule to choose by.

    python benchmarks/operating_point.py RESULTS [--method KEY ...] [--drf N ...] [--out FOLDER]
    python benchmarks/operating_point.py RESULTS --table [--out FOLDER]

RESULTS is a finished run; its test subjects are not read. Points of every learned method: its image, and
the image with a fraction of the removed residual put back. Of CSR-D also the posterior mean, blends of the
mean and a sample, averages of samples, and samples that start at the mean with less noise than a sample has;
and how many voxels of the normal dose its intervals hold. Each pair is added to FOLDER/points.csv as soon as
it is measured, so that the same command continues after an interruption.

The rule: the point with the least P_dist among those whose PSNR is at most 0.1 dB below the method's best,
both means over validation subjects and doses.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from ablation import made_by

from csrd.cohort import subjects
from csrd.config import Config
from csrd.errors import InputError, plain_errors
from csrd.io.files import whole_file
from csrd.io.volume import Volume
from csrd.methods import label_of, method
from csrd.methods.base import LoadedPair, Method
from csrd.methods.csrd import CRITERIA, Csrd
from csrd.metrics.coverage import covered
from csrd.metrics.evaluate import metrics_of
from csrd.stages.fit import aligned_pairs

COST_DB = 0.1
"""Largest loss of PSNR against a method's best point at which a point may be chosen."""
PUT_BACK = (0.03, 0.06, 0.1, 0.15, 0.25)
BLENDS = (0.1, 0.2, 0.35, 0.5, 0.7)
AVERAGED = (2, 4, 8)
STARTS = (0.0, 0.25, 0.5, 0.75)
LEVELS = (0.68, 0.9)
KEYS = ["method", "subject", "drf", "kind", "parameter"]
IMAGE, DOSE = "image", "1/drf"

Point = tuple[str, str, Volume]
"""Kind, parameter and image."""


def put_back(image: Volume, low: Volume, fraction: float) -> Volume:
    """Return an image with a fraction of what was removed from the low dose."""
    return image.like(image.array + fraction * (low.array - image.array))


def points(fitted: Method, pair: LoadedPair) -> Iterator[Point]:
    """Yield the points of a method on a pair."""
    image = fitted.apply(pair.low, pair.mr, pair.drf)
    yield IMAGE, "", image
    for fraction in PUT_BACK:
        yield "put back", f"{fraction:g}", put_back(image, pair.low, fraction)
    yield "put back", DOSE, put_back(image, pair.low, 1 / pair.drf)
    if isinstance(fitted, Csrd):
        yield from points_of_posterior(fitted, pair)


def points_of_posterior(fitted: Csrd, pair: LoadedPair) -> Iterator[Point]:
    """Yield the mean, blends, a sample, averages, and samples that start at the mean."""
    from csrd.diffusion.sampler import blend

    found = fitted.posterior(pair.low, pair.mr, pair.drf, max(AVERAGED))
    yield "mean", "", found.image(found.mean)
    for fraction in BLENDS:
        yield "blend", f"{fraction:g}", found.image(blend(found.mean, found.samples[0], fraction))
    yield "sample", "", found.image(found.samples[0])
    for count in AVERAGED:
        yield "average", f"{count}", found.image(torch.stack(found.samples[:count]).mean(0))
    for start in STARTS:
        begun = fitted.posterior(pair.low, pair.mr, pair.drf, 1, start=start)
        yield "start", f"{start:g}", begun.image(begun.samples[0])


def measured(fitted: Method, pair: LoadedPair, config: Config) -> pd.DataFrame:
    """Return a row a point with the metrics, and for CSR-D the coverage of its intervals around the mean."""
    mask = pair.mask.array > 0
    metrics = metrics_of(pair.normal, mask, config.metrics, pair.low)
    rows = [
        {"kind": kind, "parameter": parameter, **{key: metrics[key](image) for key in CRITERIA}}
        for kind, parameter, image in points(fitted, pair)
    ]
    if isinstance(fitted, Csrd):
        fitted.use(product="mean")
        mean, std = fitted.apply_with_std(pair.low, pair.mr, pair.drf)
        error = (mean.array - pair.normal.array)[mask]
        held = covered(error, std.array[mask], fitted.settings.samples, LEVELS)
        rows.append(
            {"kind": "mean", "parameter": "intervals"} | dict(zip(map(str, LEVELS), held, strict=True))
        )
    return pd.DataFrame(rows).assign(method=fitted.key, subject=pair.subject, drf=pair.drf)


def measure(
    results: Path, config: Config, keys: list[str], drfs: list[int], out: Path, validation: list[str]
) -> None:
    """Add the rows of each method, validation subject and dose that the file lacks."""
    pairs = aligned_pairs(results / "derivatives" / "csrd", dict.fromkeys(validation, "validation"), drfs)
    for key in keys:
        for pair in pairs:
            table = read(out)
            done = (table["method"] == key) & (table["subject"] == pair.subject) & (table["drf"] == pair.drf)
            if done.any():
                continue
            print(f"{label_of(key)}: {pair.subject} at 1/{pair.drf}", flush=True)
            rows = measured(method(key).load(results / "models" / key), pair.load(), config)
            with whole_file(out) as temporary:
                pd.concat([table, rows]).to_csv(temporary, index=False)


def read(path: Path) -> pd.DataFrame:
    """Return the file's rows; none where it does not exist."""
    if not path.exists():
        return pd.DataFrame(columns=[*KEYS, *CRITERIA, *map(str, LEVELS)])
    return pd.read_csv(path, dtype={"parameter": str}, keep_default_na=False, na_values={"psnr": [""]})


def curve(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each method's points over subjects and doses, and which one the rule chooses."""
    shown = table[table["parameter"] != "intervals"]
    for column in CRITERIA:
        shown = shown.assign(**{column: pd.to_numeric(shown[column])})
    means = shown.groupby(["method", "kind", "parameter"], sort=False)[list(CRITERIA)].mean().reset_index()
    means["chosen"] = False
    for _, part in means.groupby("method", sort=False):
        means.loc[chosen(part), "chosen"] = True
    return means


def chosen(part: pd.DataFrame) -> int:
    """Return the index of the point that the rule chooses among one method's."""
    near = part[part["psnr"] >= part["psnr"].max() - COST_DB]
    return int(near["p_dist"].idxmin())


def draw(means: pd.DataFrame, path: Path) -> None:
    """Write a figure: a line for each method and kind, and a ring around the point that is chosen."""
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    for number, (key, part) in enumerate(means.groupby("method", sort=False)):
        kinds = part["kind"].mask(part["parameter"] == DOSE, f"put back {DOSE}")
        for kind, line in part.groupby(kinds, sort=False):
            marker = {
                IMAGE: "*",
                "put back": "v",
                f"put back {DOSE}": "P",
                "blend": "o",
                "average": "s",
                "start": "^",
            }.get(kind, "D")
            name = f"{label_of(key)}: {kind}"
            axes.plot(line["psnr"], line["p_dist"], marker=marker, color=f"C{number}", lw=0.8, label=name)
        best = part[part["chosen"]]
        axes.plot(best["psnr"], best["p_dist"], "o", ms=14, mfc="none", mec=f"C{number}")
    axes.set(xlabel="PSNR (dB)", ylabel="P_dist", title="Validation subjects; rings: chosen by the rule")
    figure.legend(fontsize=7, loc="outside right upper")
    figure.savefig(path, dpi=130)


def markdown(means: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a table of points, and of the coverage of intervals."""
    yield "| method | point | MAE | PSNR (dB) | SSIM | H_dist | P_dist | chosen |"
    yield "|---|---|--:|--:|--:|--:|--:|---|"
    for row in means.itertuples():
        name = f"{row.kind} {row.parameter}".strip()
        numbers = f"{row.mae:.1f} | {row.psnr:.2f} | {row.ssim:.4f} | {row.h_dist:.2f} | {row.p_dist:.1f}"
        yield f"| {label_of(row.method)} | {name} | {numbers} | {'yes' if row.chosen else ''} |"
    held = table[table["parameter"] == "intervals"]
    for key, part in held.groupby("method", sort=False):
        said = [
            f"{100 * pd.to_numeric(part[str(level)]).mean():.1f} % in {level:.0%} intervals"
            for level in LEVELS
        ]
        yield f"\n{label_of(key)}: {', '.join(said)} around the mean."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--method", nargs="+", help="learned methods; all that the run fitted")
    parser.add_argument("--drf", nargs="+", type=int, help="doses; those in train_drfs")
    parser.add_argument("--out", type=Path, help="the folder of the tables and the figure; RESULTS/points")
    parser.add_argument("--config", type=Path, help="the run's configuration; that in its run.json")
    parser.add_argument("--table", action="store_true", help="print what has been measured")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with plain_errors():
        out = given.out or given.results / "points"
        out.mkdir(parents=True, exist_ok=True)
        if not given.table:
            config = made_by(given.results, given.config)
            validation = [one.id for one in subjects(config) if one.split == "validation"]
            if not validation:
                raise InputError("the run has no validation subject to choose on; give it one")
            learned = [key for key in config.learned_methods if not method(key).control]
            keys, drfs = given.method or learned, given.drf or list(config.train_drfs)
            measure(given.results, config, keys, drfs, out / "points.csv", validation)
        table = read(out / "points.csv")
        means = curve(table)
        means.to_csv(out / "curve.csv", index=False)
        draw(means, out / "curve.png")
        print("\n".join(markdown(means, table)))


if __name__ == "__main__":
    main()

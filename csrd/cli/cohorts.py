"""Whole datasets and runs."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from csrd.cli import options
from csrd.cli.options import CORES, Configuration, app


class Level(StrEnum):
    participant = "participant"
    group = "group"


Labels = Annotated[list[str] | None, typer.Option(help="Labels, one after the other, or repeated.")]
WITH_LABELS = ("--participant-label", "--session-label", "--task", "--run", "--rec")


class BidsApp(TyperCommand):
    """A command whose options of labels take several words after the level, as those of other BIDS Apps."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, repeated(args))


def repeated(words: Sequence[str]) -> list[str]:
    """Return a command's words with the option before each of several labels.

    >>> repeated(["in", "out", "participant", "--run", "1", "2", "-n"])
    ['in', 'out', 'participant', '--run', '1', '--run', '2', '-n']
    """
    found: list[str] = []
    after_level, option, labels = False, "", 0
    for word in words:
        if word.startswith("-"):
            option, labels = word if after_level and word in WITH_LABELS else "", 0
        elif option:
            found += [option] if labels else []
            labels += 1
        elif word in list(Level):
            after_level = True
        found.append(word)
    return found


@app.command(cls=BidsApp)
def bids(
    dataset: Annotated[Path, typer.Argument(metavar="BIDS", help="The root of the BIDS dataset.")],
    out: Annotated[Path, typer.Argument(help="The folder of derivatives, e.g. BIDS/derivatives/csrd.")],
    level: Annotated[Level, typer.Argument(help="participant denoises, group lists and compares.")],
    participant_label: Labels = None,
    session_label: Labels = None,
    task: Labels = None,
    run: Labels = None,
    rec: Annotated[
        list[str] | None,
        typer.Option(
            help="Labels of reconstructions, or all.", show_default="one of each scan, static and AC first"
        ),
    ] = None,
    filter_file: Annotated[
        Path | None, typer.Option("--filter-file", help="JSON of entities for pet and t1w.")
    ] = None,
    no_mr: Annotated[bool, typer.Option("--no-mr", help="Use no T1w image.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="The folder of a fitted method; else the models in the package.")
    ] = None,
    std: Annotated[
        bool, typer.Option("--std", help="Predict the standard deviation too; takes several times as long.")
    ] = False,
    units: Annotated[
        str | None, typer.Option(help="The unit of PET whose sidecar has none: Bq/mL, kBq/mL or SUV.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Regions for curves and BP_ND of dynamic scans: atlas, or a dataset with *_dseg images."
        ),
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="desc- or seg- of those images, where there are several.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The reference region.", show_default="cerebellar cortex")
    ] = None,
    kinetic_model: Annotated[
        str | None, typer.Option(help="srtm, mrtm2 or logan.", show_default="srtm")
    ] = None,
    t_star: Annotated[
        float | None, typer.Option(help="mrtm2, logan: start of the first frame used, s after TimeZero.")
    ] = None,
    k2prime: Annotated[
        float | None,
        typer.Option(
            "--k2prime", help="mrtm2, logan: the reference's k2 in 1/min.", show_default="SRTM's estimate"
        ),
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores to use.", show_default="all")] = CORES,
    profile: Annotated[
        Path | None, typer.Option(help="A profile of snakemake, e.g. workflow/profiles/slurm.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show what would be done, and stop.")
    ] = False,
) -> None:
    """Denoise every PET scan of a BIDS dataset, as a BIDS App: derivatives with sessions and runs.

    A participant's T1w image is used where there is one. The same command goes on with an interrupted run.
    With --labels dynamic scans get curves and BP_ND by region, before and after, which the level group
    compares between two sessions (--session-label test retest).
    """
    from csrd.stages.bids_app import METHODS, TABLE, Choices, outdated, planned, sentences, settings_of
    from csrd.stages.bids_app import run as run_workflow

    named = {"participant": participant_label, "session": session_label, "task": task}
    named |= {"run": run, "reconstruction": rec}
    select = {name: tuple(label for text in texts or [] for label in text.split())
              for name, texts in named.items()}  # fmt: skip
    kinetics: dict[str, Any] = {"labels": labels, "description": description, "reference": reference}
    kinetics |= {"model": kinetic_model, "t_star": t_star, "k2prime": k2prime}
    settings = settings_of(dataset, out, Choices(select, filter_file, no_mr, model, std, units, kinetics))
    again: list[str] = []
    if level is Level.participant:
        scans = planned(settings)
        print("\n".join(sentences(scans)), flush=True)
        again = outdated(settings, scans)
    run_workflow(settings, level.value, cores, profile, dry_run, again)
    if not dry_run:
        made = {Level.participant: METHODS, Level.group: TABLE}[level]
        print(f"done: {out} ({made})")


@app.command()
def study(
    folders: Annotated[
        list[Path], typer.Argument(help="The results folders of runs that differ in their seed.")
    ],
    config: Configuration = None,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder; else the one in which the first run lies.")
    ] = None,
) -> None:
    """Pool several runs and check the paper's claims; exit with 1 where a check fails."""
    from csrd.extras import require

    require("workflow", "pooling runs")
    from csrd.report.study import FAILED, sentences
    from csrd.stages.study import study

    out = out or folders[0].resolve().parent
    verdicts = study(folders, out, options.configuration(config))
    print("\n".join(sentences(verdicts, out)))
    if FAILED in set(verdicts["verdict"]):
        raise typer.Exit(1)


@app.command()
def openneuro(
    dataset: Annotated[str, typer.Argument(help="The dataset on OpenNeuro, e.g. ds003382.")],
    folder: Annotated[Path, typer.Option(help="The folder for the dataset's files.")],
    subject: Annotated[
        list[str] | None, typer.Option(help="A subject's label; may be repeated.", show_default="all")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print names and sizes of the files, and fetch nothing.")
    ] = False,
    server: Annotated[
        str | None, typer.Option(help="Address of the list of files.", show_default="OpenNeuro's")
    ] = None,
) -> None:
    """Fetch what measured scans of the mMR on OpenNeuro need, and write their sheet and configuration."""
    from csrd.stages.openneuro import SERVER, openneuro

    print(
        json.dumps(
            openneuro(dataset, subject or [], folder, dry_run=dry_run, server=server or SERVER), indent=2
        )
    )


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration, with which editors check a file of settings."""
    from csrd.config import schema

    print(schema(), end="")

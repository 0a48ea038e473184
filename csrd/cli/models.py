"""Models: fitted, listed, published."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from csrd.cli import options
from csrd.cli.options import CORES, Configuration, Threads, app
from csrd.errors import InputError


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="The method's name, e.g. tv.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Aligned subjects: <results>/derivatives/csrd; with --from, or a list-mode file."
        ),
    ],
    model: Annotated[Path, typer.Argument(help="The folder of the fitted method.")],
    subject: Annotated[
        list[str] | None,
        typer.Option(help="A subject to train on; may be repeated. Of a list-mode file, its name."),
    ] = None,
    validation: Annotated[list[str] | None, typer.Option(help="A subject to select settings on.")] = None,
    begin_with: Annotated[
        str | None,
        typer.Option("--from", help="Tune a fitted model of this folder, or the packaged one: packaged."),
    ] = None,
    mr: Annotated[Path | None, typer.Option(help="List-mode: the subject's T1w image.")] = None,
    mumap: Annotated[Path | None, typer.Option(help="List-mode: μ-map, as for csrd recon.")] = None,
    normalisation: Annotated[Path | None, typer.Option(help="List-mode: crystal efficiencies, .npy.")] = None,
    attenuation: Annotated[
        bool, typer.Option(help="List-mode: correct for attenuation; this needs a μ-map.")
    ] = True,
    thinning: Annotated[
        list[Path] | None,
        typer.Option(
            help="A further low dose of a training subject, with both in its name; may be repeated."
        ),
    ] = None,
    config: Configuration = None,
    threads: Threads = CORES,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train one network together: one for each GPU.")
    ] = 1,
) -> None:
    """Fit a method on aligned subjects, at the doses in train_drfs; with --from, tune a fitted one."""
    from csrd.io.bids import find_aligned
    from csrd.stages.fit import aligned_pairs, fit
    from csrd.stages.tune import tune_on_listmode, tune_on_pairs

    configuration, subjects = options.configuration(config), subject or []
    settings = configuration.of_method(method)
    files = {"mr": mr, "mumap": mumap, "normalisation": normalisation}
    of_listmode = begin_with is not None and not data.is_dir()
    _check_train(subjects, validation or [], begin_with, of_listmode, processes, files)
    if begin_with is not None and of_listmode:
        named = options.subject_of(subjects[0] if subjects else None, data)
        how: dict[str, Any] = {"recon": configuration.recon, "seed": configuration.seed, **files}
        how |= {"model": model, "begin_with": begin_with, "subject": named, "attenuation": attenuation}
        print(json.dumps(tune_on_listmode(method, data, threads=threads, **how), indent=2))
        return
    splits = dict.fromkeys(subjects, "train") | dict.fromkeys(validation or [], "validation")
    if begin_with is not None:
        pairs = aligned_pairs(data, splits, configuration.train_drfs)
        said = tune_on_pairs(method, pairs, model=model, begin_with=begin_with, threads=threads)
        print(json.dumps(said, indent=2))
        return
    images = find_aligned(data, splits, configuration.train_drfs)
    images["lows"] += thinning or []
    how = {**images, "seed": configuration.seed, "metrics": configuration.metrics}
    how |= {"threads": threads, "processes": processes, "augment": configuration.augment}
    fit(method, model=model, splits=splits, settings=settings, **how)


@app.command()
def weights(
    network: Annotated[str, typer.Argument(help="vgg19 (P_dist) or alexnet (LPIPS).")],
    folder: Annotated[Path, typer.Argument(help="The folder for its file: metrics.weights in the settings.")],
) -> None:
    """Download an ImageNet network for the metrics, and verify its checksum."""
    from csrd.imagenet import WEIGHTS, fetch

    if network not in WEIGHTS:
        raise InputError(f"there is no network {network}; choose from {', '.join(WEIGHTS)}")
    print(fetch(network, folder))


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model to describe: its use, training and limits.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards alone, as JSON.")] = False,
) -> None:
    """List the models in the package, or describe one of them."""
    from csrd.pretrained import KEYS, cards, description, listing

    if name is not None and name not in KEYS:
        raise InputError(f"there is no packaged model {name}; choose from {', '.join(KEYS)}")
    if as_json:
        print(json.dumps(cards()[name] if name else cards(), indent=2))
    else:
        print(description(name) if name else listing(), end="")


@app.command()
def publish(
    models: Annotated[Path, typer.Argument(help="The models of a finished run: <results>/models.")],
    into: Annotated[Path | None, typer.Option(help="Write them into this folder instead.")] = None,
) -> None:
    """Replace the models in the package by those of a finished run (for developers, in a clone)."""
    from csrd.pretrained import FOLDER, publish

    publish(models, into or FOLDER)


def _check_train(
    subjects: list[str],
    validation: list[str],
    begin_with: str | None,
    of_listmode: bool,
    processes: int,
    files: dict[str, Path | None],
) -> None:
    """Raise InputError where options of `csrd train` do not belong together."""
    if of_listmode:
        if validation:
            raise InputError("events of the list-mode file itself are held out; leave --validation out")
        if len(subjects) > 1:
            raise InputError("one list-mode file is of one subject; give --subject once")
    elif given := [name for name, path in files.items() if path]:
        raise InputError(f"--{given[0]} is for tuning on a list-mode file; leave it out for aligned subjects")
    elif not subjects:
        raise InputError("there is no subject to train on; give one with --subject")
    if begin_with is not None and processes > 1:
        raise InputError("a model is tuned in one process; leave --processes out")

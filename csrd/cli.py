"""The command `csrd`: the workflow's stages, one subject at a time.

Heavy packages are imported inside the command that needs them, so that `csrd --help` is quick.
"""

import json
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from csrd import __version__
from csrd.errors import InputError, plain_errors

app = typer.Typer(
    help="From PET list-mode data to a denoised brain, step by step; all at once: snakemake --cores all",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Configuration = Annotated[
    Path | None, typer.Option("--config", help="YAML file of the settings that differ from the defaults.")
]
Threads = Annotated[int, typer.Option(min=1, help="Cores to use.", show_default="all")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers, with the subject.")]
SubjectName = Annotated[
    str | None,
    typer.Option(
        help="The subject, sub-<label>; else the one in the file's name.", show_default="from the file"
    ),
]
Facts = Annotated[
    Path | None,
    typer.Option(help="JSON with tracer, weight_kg and activity_MBq, as the workflow's <sub>_subject.json."),
]
Regions = Annotated[
    Path | None,
    typer.Option(
        help="Regions for the report, on the grid of the PET or the MR; a .tsv beside it names them.",
        show_default="the packaged atlas, with an MR",
    ),
]
SEED = 2024  # the configuration's default
CORES = os.cpu_count() or 1


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def main() -> None:
    """Run the command line; an input error gives one line and exit status 1."""
    with plain_errors():
        app()


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A list-mode file, or its header.")]) -> None:
    """Print the content of a list-mode file as JSON: format, scanner, counts and duration."""
    from csrd.listmode import open_listmode

    print(json.dumps(open_listmode(file).info(), indent=2))


@app.command()
def thin(
    source: Annotated[Path, typer.Argument(help="The list-mode file of the normal dose.")],
    target: Annotated[
        Path, typer.Argument(help="The thinned file; a header of its own is written beside it.")
    ],
    drf: Annotated[float, typer.Option(help="Dose reduction factor: 4 keeps a quarter of the events.")],
    seed: Seed = SEED,
    subject: SubjectName = None,
    nested: Annotated[
        bool, typer.Option("--nested", help="Keep a subset of the events that a lower --drf keeps.")
    ] = False,
) -> None:
    """Thin list-mode data to a low dose: remove events at random."""
    from csrd.stages.thin import thin

    subject = _subject(subject, source)
    print(json.dumps(thin(source, target, drf=drf, seed=seed, subject=subject, nested=nested), indent=2))


@app.command()
def recon(
    listmode: Annotated[
        Path, typer.Argument(help="A list-mode file; its header, if the format has one, beside it.")
    ],
    target: Annotated[Path, typer.Argument(help="The image, .nii.gz; its sidecar is written beside it.")],
    mumap: Annotated[Path | None, typer.Option(help="μ-map in 1/cm, in scanner coordinates.")] = None,
    normalisation: Annotated[Path | None, typer.Option(help="Crystal efficiencies, .npy.")] = None,
    attenuation: Annotated[
        bool, typer.Option(help="Correct for the body's attenuation; this needs a μ-map.")
    ] = True,
    scatter: Annotated[
        Path | None, typer.Option(help="The normal dose's scatter, .npy, as csrd scatter wrote it.")
    ] = None,
    drf: Annotated[
        float | None, typer.Option(min=1, help="The dose reduction factor; else the header's.")
    ] = None,
    config: Configuration = None,
    seed: Seed = SEED,
    subject: SubjectName = None,
    threads: Threads = CORES,
) -> None:
    """Reconstruct one list-mode file, in Bq/mL and scaled to the normal dose."""
    from csrd.stages.recon import reconstruct

    reconstruct(
        listmode,
        target,
        recon=_configuration(config).recon,
        mumap=mumap,
        normalisation=normalisation,
        attenuation=attenuation,
        scatter=scatter,
        drf=drf,
        seed=seed,
        subject=_subject(subject, listmode),
        threads=threads,
        log=f"{target}.log",
    )


@app.command()
def scatter(
    listmode: Annotated[Path, typer.Argument(help="A list-mode file of the normal dose.")],
    target: Annotated[Path, typer.Argument(help="The scatter's table, .npy, for csrd recon --scatter.")],
    mumap: Annotated[Path, typer.Option(help="μ-map in 1/cm, in scanner coordinates.")],
    normalisation: Annotated[Path | None, typer.Option(help="Crystal efficiencies, .npy.")] = None,
    config: Configuration = None,
    seed: Seed = SEED,
    subject: SubjectName = None,
    threads: Threads = CORES,
) -> None:
    """Estimate the scatter of a scan once, for the reconstruction of all its doses."""
    from csrd.stages.recon import estimate_scatter

    found = estimate_scatter(
        listmode,
        target,
        recon=_configuration(config).recon,
        mumap=mumap,
        normalisation=normalisation,
        seed=seed,
        subject=_subject(subject, listmode),
        threads=threads,
    )
    print(json.dumps(found, indent=2))


@app.command()
def export(
    listmode: Annotated[Path, typer.Argument(help="A list-mode file of any dose; its header beside it.")],
    target: Annotated[
        Path, typer.Argument(help="For CASToR .Cdh, for YRT-PET .lmDat, for STIR (mMR only) .hs.")
    ],
    mumap: Annotated[Path | None, typer.Option(help="μ-map in 1/cm, in scanner coordinates.")] = None,
    normalisation: Annotated[Path | None, typer.Option(help="Crystal efficiencies, .npy.")] = None,
    attenuation: Annotated[
        bool, typer.Option(help="Correct for the body's attenuation; this needs a μ-map.")
    ] = True,
    scatter: Annotated[
        Path | None, typer.Option(help="The normal dose's scatter, .npy, as csrd scatter wrote it.")
    ] = None,
    drf: Annotated[
        float | None, typer.Option(min=1, help="The dose reduction factor; else the header's.")
    ] = None,
    config: Configuration = None,
    seed: Seed = SEED,
    subject: SubjectName = None,
    threads: Threads = CORES,
) -> None:
    """Write a scan for another engine: events, scanner, sensitivity, and the factors of each line."""
    from csrd.stages.export import export

    found = export(
        listmode,
        target,
        recon=_configuration(config).recon,
        mumap=mumap,
        normalisation=normalisation,
        attenuation=attenuation,
        scatter=scatter,
        drf=drf,
        seed=seed,
        subject=_subject(subject, listmode),
        threads=threads,
    )
    print(json.dumps(found, indent=2))


@app.command()
def align(
    normal: Annotated[Path, typer.Argument(help="The image of the normal dose.")],
    folder: Annotated[
        Path, typer.Argument(help="The folder of derivatives: sub-<label>/pet and anat go there.")
    ],
    low: Annotated[list[str] | None, typer.Option(help="A low dose as DRF=FILE; may be repeated.")] = None,
    t1w: Annotated[Path | None, typer.Option(help="The subject's T1w image.")] = None,
    config: Configuration = None,
    seed: Seed = SEED,
    subject: SubjectName = None,
    facts: Facts = None,
    threads: Threads = CORES,
) -> None:
    """Bring a subject's PET images and MR onto one cropped grid, named as the workflow names them."""
    from csrd.io.bids import Scan
    from csrd.io.files import read_json
    from csrd.stages.align import align

    settings = _configuration(config).align
    lows = dict(_dose(text) for text in low or [])
    scan = Scan(_subject(subject, normal), tracer=read_json(facts).get("tracer") if facts else None)
    align(
        normal,
        list(lows.values()),
        t1w=t1w,
        reference=folder / f"{scan.reference}.nii.gz",
        lows_out=[folder / f"{scan.low(drf)}.nii.gz" for drf in lows],
        head=folder / f"{scan.head}.nii.gz",
        picture=folder / f"{scan.name('registration', 'figures')}.png",
        t1w_out=folder / f"{scan.mr}.nii.gz",
        transform=folder / f"{scan.transform}.json",
        drfs=list(lows),
        align=settings,
        seed=seed,
        threads=threads,
        facts=facts,
    )


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

    configuration, subjects = _configuration(config), subject or []
    settings = configuration.of_method(method)
    files = {"mr": mr, "mumap": mumap, "normalisation": normalisation}
    of_listmode = begin_with is not None and not data.is_dir()
    _check_train(subjects, validation or [], begin_with, of_listmode, processes, files)
    if begin_with is not None and of_listmode:
        named = _subject(subjects[0] if subjects else None, data)
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
    how = {**images, "seed": configuration.seed, "metrics": configuration.metrics}
    how |= {"threads": threads, "processes": processes}
    fit(method, model=model, splits=splits, settings=settings, **how)


@app.command()
def denoise(
    low: Annotated[
        Path,
        typer.Argument(help="A low-dose image, scaled to the normal dose, on any grid, or its DICOM folder."),
    ],
    target: Annotated[
        Path, typer.Argument(help="The denoised image, .nii.gz, on the same grid; for DICOM a new folder.")
    ],
    mr: Annotated[
        Path | None,
        typer.Option(help="The subject's T1w image or its DICOM folder; registered where on another grid."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The folder of a fitted method; else the model in the package.")
    ] = None,
    drf: Annotated[
        float | None,
        typer.Option(
            min=1, help="The dose reduction factor; else the sidecar's, else estimated from the noise."
        ),
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="csrd: mean, sample, average of the samples, or table (the default).")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="csrd: number of samples.")] = None,
    std: Annotated[
        Path | None, typer.Option(help="csrd: the file of the predicted standard deviation, .nii.gz.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="csrd: steps of the sampler.")] = None,
    device: Annotated[Device, typer.Option(help="Where networks run.")] = Device.auto,
    units: Annotated[
        str | None, typer.Option(help="The unit of a PET whose file does not state it: Bq/mL, kBq/mL or SUV.")
    ] = None,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Accept a DICOM series with missing slices.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="A page about the scan, .html: images, regions, checks, a viewer.")
    ] = None,
    labels: Regions = None,
    static: Annotated[
        str | None,
        typer.Option(
            metavar="START-END",
            help="Denoise the mean of a dynamic scan's frames between two times, s after TimeZero, as 3D.",
        ),
    ] = None,
) -> None:
    """Denoise one image with a fitted method; without --model, with the packaged CSR-D model.

    A dynamic scan, 4D or a DICOM series, is denoised frame by frame.
    """
    from csrd.stages.predict import predict

    choices: dict[str, Any] = {"product": product, "samples": samples, "steps": steps}
    choices |= {"units": units, "allow_incomplete": allow_incomplete, "device": device.value}
    choices |= {"reports": [report] if report else None, "labels": labels}
    choices["static"] = None if static is None else _window(static)
    predict([low], [target], mr=mr, stds=[std] if std else None, model=model, drf=drf, **choices)


class Level(StrEnum):
    participant = "participant"
    group = "group"


Labels = Annotated[list[str] | None, typer.Option(help="Labels; may be repeated, or separated by spaces.")]


@app.command()
def bids(
    dataset: Annotated[Path, typer.Argument(metavar="BIDS", help="The root of the BIDS dataset.")],
    out: Annotated[Path, typer.Argument(help="The folder of derivatives, e.g. BIDS/derivatives/csrd.")],
    level: Annotated[Level, typer.Argument(help="participant denoises, group lists what was denoised.")],
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
    """
    from csrd.stages.bids_app import METHODS, TABLE, Choices, outdated, planned, sentences, settings_of
    from csrd.stages.bids_app import run as run_workflow

    named = {"participant": participant_label, "session": session_label, "task": task}
    named |= {"run": run, "reconstruction": rec}
    select = {name: tuple(label for text in texts or [] for label in text.split())
              for name, texts in named.items()}  # fmt: skip
    settings = settings_of(dataset, out, Choices(select, filter_file, no_mr, model, std, units))
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
def page(
    low: Annotated[Path, typer.Argument(help="The image that was denoised.")],
    image: Annotated[Path, typer.Argument(help="The denoised image, with its sidecar beside it.")],
    target: Annotated[Path, typer.Argument(help="The page, .html.")],
    mr: Annotated[Path | None, typer.Option(help="The T1w image that was given to csrd denoise.")] = None,
    std: Annotated[Path | None, typer.Option(help="The predicted standard deviation.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="The normal dose on the same grid, where there is one.")
    ] = None,
    labels: Regions = None,
    viewer: Annotated[bool, typer.Option(help="Put the volumes and a viewer into the page.")] = True,
) -> None:
    """Write the page about a scan that was denoised before (csrd denoise --report writes it at once)."""
    from csrd.stages.page import page

    page(low, image, target, std=std, mr=mr, labels=labels, reference=reference, viewer=viewer)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="A folder for the scan and the results.")] = Path(
        "csrd-demo"
    ),
    opened: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Denoise a small simulated scan with an MR, and show the page about it: in less than a minute."""
    from csrd.stages.demo import demo

    found = demo(folder)
    print("\n".join(found.sentences))
    if opened:
        typer.launch(str(found.page))


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Argument(help="The image of the normal dose.")],
    images: Annotated[
        list[Path], typer.Argument(help="A method's images, one for each dose, on the same grid.")
    ],
    mask: Annotated[Path, typer.Option(help="The head mask, on the same grid.")],
    table: Annotated[Path | None, typer.Option(help="A CSV file for the same rows.")] = None,
    low: Annotated[
        list[Path] | None,
        typer.Option(help="The low dose of each image; only metrics.protocol: released needs it."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="The method's name; else the desc- of the first image's.")
    ] = None,
    config: Configuration = None,
    subject: SubjectName = None,
    facts: Facts = None,
) -> None:
    """Print the metrics of a method's images against the normal dose as JSON, a row for each image.

    MAE is in kBq/mL, or in SUV with --facts.
    """
    from csrd.io.bids import dose_of, entities_of, inherited
    from csrd.stages.evaluate import evaluate

    doses = [dose_of(image) or inherited(image).get("DoseReductionFactor") for image in images]
    if len(set(doses)) < len(doses):
        raise InputError(
            f"{images[0]} and others are of one dose by name and sidecar; evaluate one at a time"
        )
    if low and len(low) != len(images):
        raise InputError(f"there are {len(low)} --low for {len(images)} images; give one for each")
    rows = evaluate(
        images,
        reference,
        mask,
        tables=[table] if table else [],
        methods=[method or entities_of(images[0]).get("desc", images[0].name.partition(".")[0])],
        drfs=doses,
        metrics=_configuration(config).metrics,
        subject=_subject(subject, reference),
        lows=low,
        facts=facts,
    )
    print(json.dumps(rows, indent=2))


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
    verdicts = study(folders, out, _configuration(config))
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
) -> None:
    """Replace the models in the package by those of a finished run (for developers, in a clone)."""
    from csrd.pretrained import publish

    publish(models)


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


def _configuration(path: Path | None):
    """Return the configuration in a YAML file, or the defaults."""
    import yaml

    from csrd.config import load_apart

    try:
        values = yaml.safe_load(path.read_text()) if path else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not readable YAML ({reason}); see config/config.yaml") from None
    if not isinstance(values, dict | None):
        raise InputError(f"{path} holds no keys; see config/config.yaml")
    return load_apart(values or {})


def _subject(name: str | None, path: Path) -> str:
    """Return the requested subject, else the one in a file's name."""
    from csrd.io.bids import subject_of

    if name is not None and not re.fullmatch(r"sub-[A-Za-z0-9]+", name):
        raise InputError(f"--subject is {name!r}; write sub- and letters or digits, as sub-01")
    return name or subject_of(path)


def _dose(text: str) -> tuple[int, Path]:
    """Return 4=file.nii.gz as (4, file.nii.gz)."""
    drf, separator, path = text.partition("=")
    if not separator or not drf.isdecimal() or int(drf) < 1:
        raise InputError(f"--low is {text!r}; write the dose reduction factor and the file, as 4=low.nii.gz")
    return int(drf), Path(path)


def _window(text: str) -> tuple[float, float]:
    """Return 3000-5400 as (3000.0, 5400.0)."""
    start, _, end = text.partition("-")
    try:
        window = float(start), float(end)
    except ValueError:
        window = 0.0, 0.0
    if not 0 <= window[0] < window[1]:
        raise InputError(f"--static is {text!r}; write its start and end in s after TimeZero, as 3000-5400")
    return window

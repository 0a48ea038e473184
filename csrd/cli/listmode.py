"""List-mode: thinned, reconstructed, corrected for scatter, exported."""

import json
from pathlib import Path
from typing import Annotated

import typer

from csrd.cli import options
from csrd.cli.options import CORES, SEED, Configuration, Seed, SubjectName, Threads, app


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

    subject = options.subject_of(subject, source)
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
    """Reconstruct one list-mode file, in Bq/mL and scaled to the normal dose.

    With recon.frames in the configuration the image is 4D.
    """
    from csrd.stages.recon import reconstruct, reconstruct_frames

    settings = options.configuration(config).recon
    how = {
        "recon": settings,
        "mumap": mumap,
        "normalisation": normalisation,
        "attenuation": attenuation,
        "scatter": scatter,
        "drf": drf,
        "seed": seed,
        "subject": options.subject_of(subject, listmode),
        "threads": threads,
    }
    if settings.frames:
        reconstruct_frames(listmode, target, **how)
    else:
        reconstruct(listmode, target, **how, log=f"{target}.log")


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
        recon=options.configuration(config).recon,
        mumap=mumap,
        normalisation=normalisation,
        seed=seed,
        subject=options.subject_of(subject, listmode),
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
        recon=options.configuration(config).recon,
        mumap=mumap,
        normalisation=normalisation,
        attenuation=attenuation,
        scatter=scatter,
        drf=drf,
        seed=seed,
        subject=options.subject_of(subject, listmode),
        threads=threads,
    )
    print(json.dumps(found, indent=2))

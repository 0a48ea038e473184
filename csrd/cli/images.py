"""Images: aligned, denoised, shown, measured."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from csrd.cli import options
from csrd.cli.options import (
    CORES,
    SEED,
    Configuration,
    Device,
    Facts,
    Regions,
    Seed,
    SubjectName,
    Threads,
    app,
)
from csrd.errors import InputError


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

    settings = options.configuration(config).align
    lows = dict(_dose(text) for text in low or [])
    scan = Scan(options.subject_of(subject, normal), tracer=read_json(facts).get("tracer") if facts else None)
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
        metrics=options.configuration(config).metrics,
        subject=options.subject_of(subject, reference),
        lows=low,
        facts=facts,
    )
    print(json.dumps(rows, indent=2))


@app.command()
def tacs(
    pet: Annotated[
        Path, typer.Argument(help="A dynamic scan: 4D NIfTI with a sidecar, or its DICOM folder.")
    ],
    table: Annotated[Path, typer.Option("--output", "-o", help="The table of curves, .tsv.")],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Regions in the PET's coordinates, with --mr in the MR's; a .tsv beside it names them.",
            show_default="the packaged atlas, with an MR",
        ),
    ] = None,
    mr: Annotated[Path | None, typer.Option(help="The subject's T1w image, which is registered.")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Write the regions on the PET's voxels too, .nii.gz.")
    ] = None,
    units: Annotated[
        str | None, typer.Option(help="The unit of a PET whose file does not state it: Bq/mL, kBq/mL or SUV.")
    ] = None,
    seed: Seed = SEED,
    threads: Threads = CORES,
) -> None:
    """Write time-activity curves of a dynamic scan by region."""
    from csrd.stages.kinetics import tacs

    tacs(pet, table, labels=labels, mr=mr, regions=regions, units=units, seed=seed, threads=threads)


@app.command()
def kinetics(
    curves: Annotated[Path, typer.Argument(help="The curves of csrd tacs, .tsv.")],
    table: Annotated[Path, typer.Option("--output", "-o", help="The table of BP_ND by region, .tsv.")],
    reference: Annotated[str, typer.Option(help="The reference region, a column of the curves.")],
    model: Annotated[str, typer.Option(help="srtm, mrtm2 or logan.")] = "srtm",
    k2prime: Annotated[
        float | None,
        typer.Option(
            "--k2prime", help="mrtm2, logan: the reference's k2 in 1/min.", show_default="SRTM's estimate"
        ),
    ] = None,
    t_star: Annotated[
        float | None,
        typer.Option(help="mrtm2, logan: start of the first frame used, s after TimeZero; logan needs it."),
    ] = None,
    exclude_frame: Annotated[
        list[int] | None,
        typer.Option(help="A frame to leave out, by its number from 1 on; may be repeated."),
    ] = None,
) -> None:
    """Write BP_ND, R1 and k2' by region from time-activity curves and a reference region."""
    from csrd.stages.kinetics import kinetics

    how: dict[str, Any] = {"reference": reference, "model": model, "k2prime": k2prime, "t_star": t_star}
    kinetics(curves, table, **how, exclude_frames=exclude_frame or ())


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

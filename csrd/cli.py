"""The command `csrd`: by hand, on one file, what the workflow's rules do on a cohort.

Everything heavy is imported inside the command that needs it, so that `csrd --help` answers at once.
"""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from csrd.errors import InputError, plain_errors

app = typer.Typer(
    help="From PET list-mode data to a denoised brain, step by step. The whole way: snakemake --cores all",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Configuration = Annotated[
    Path | None, typer.Option("--config", help="What differs from the defaults, as YAML.")
]
Threads = Annotated[int, typer.Option(min=1, help="Cores to use.", show_default="all")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random draw.")]
CORES = os.cpu_count() or 1


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def main() -> None:
    """Run the command line; a mistake of the user's gets one line and exit status 1."""
    with plain_errors():
        app()


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A list-mode file, or its header.")]) -> None:
    """Print as JSON what a list-mode file holds."""
    from csrd.listmode import open_listmode

    print(json.dumps(open_listmode(file).info(), indent=2))


@app.command()
def thin(
    source: Annotated[Path, typer.Argument(help="The list-mode file of the whole dose.")],
    target: Annotated[
        Path, typer.Argument(help="The thinned file; a header of its own is written beside it.")
    ],
    drf: Annotated[float, typer.Option(help="Dose reduction factor: 4 keeps a quarter of the events.")],
    seed: Seed = 1,
    nested: Annotated[
        bool, typer.Option("--nested", help="Keep a subset of what a lower --drf keeps.")
    ] = False,
) -> None:
    """Make a low dose of a normal one, by leaving out events at random."""
    from csrd.listmode import thin

    print(json.dumps(thin(source, target, drf, seed, nested), indent=2))


@app.command()
def recon(
    listmode: Annotated[
        Path, typer.Argument(help="A list-mode file; its header, if the format has one, beside it.")
    ],
    target: Annotated[Path, typer.Argument(help="The image, .nii.gz; its sidecar is written beside it.")],
    mumap: Annotated[Path | None, typer.Option(help="μ-map in 1/cm, in scanner coordinates.")] = None,
    normalisation: Annotated[Path | None, typer.Option(help="Crystal efficiencies, .npy.")] = None,
    attenuation: Annotated[
        bool, typer.Option(help="Correct for the body's attenuation, which takes a μ-map.")
    ] = True,
    drf: Annotated[
        float | None, typer.Option(min=1, help="The dose reduction factor; else the header's.")
    ] = None,
    config: Configuration = None,
    seed: Seed = 2024,
    threads: Threads = CORES,
) -> None:
    """Reconstruct one list-mode file, in Bq/mL and scaled to the normal dose."""
    from csrd.align.derivatives import save_derivative
    from csrd.listmode import open_listmode
    from csrd.listmode.interfile import header_beside
    from csrd.listmode.thin import drf_of
    from csrd.recon.engines import ScanFiles, reconstruct

    settings = _configuration(config).recon
    opened = open_listmode(listmode)
    drf = drf or drf_of(opened)
    drf = int(drf) if drf.is_integer() else drf
    data, header = opened.path, header_beside(opened.path) or listmode
    scan = ScanFiles(data, header, mumap, normalisation, attenuation=attenuation)
    log = Path(f"{target}.log")
    pet, sidecar = reconstruct(
        scan, settings, drf=drf, seed=seed, subject=data.name, threads=threads, log=log
    )
    save_derivative(pet, target, sidecar)


@app.command()
def export(
    listmode: Annotated[Path, typer.Argument(help="A list-mode file, whole or thinned.")],
    target: Annotated[Path, typer.Argument(help="For CASToR .Cdh, for YRT-PET .lmDat.")],
    normalisation: Annotated[Path | None, typer.Option(help="Crystal efficiencies, .npy.")] = None,
) -> None:
    """Write a list-mode file's events for another engine, and its scanner's look-up table."""
    from csrd.recon.export import export

    print(json.dumps(export(listmode, target, normalisation), indent=2))


@app.command()
def align(
    normal: Annotated[Path, typer.Argument(help="The image of the normal dose.")],
    folder: Annotated[Path, typer.Argument(help="Where the aligned images go.")],
    low: Annotated[list[str] | None, typer.Option(help="A low dose as DRF=FILE; may be repeated.")] = None,
    t1w: Annotated[Path | None, typer.Option(help="The subject's T1w image.")] = None,
    config: Configuration = None,
    seed: Seed = 2024,
    threads: Threads = CORES,
) -> None:
    """Bring a subject's PET images and MR onto one cropped grid."""
    from csrd.align.align import AlignOutputs, align

    settings = _configuration(config).align
    lows = dict(_dose(text) for text in low or [])
    out = AlignOutputs(
        reference=folder / "desc-reference_pet.nii.gz",
        lowdose={drf: folder / f"rec-acstatDrf{drf}_desc-lowdose_pet.nii.gz" for drf in lows},
        head=folder / "space-pet_desc-head_mask.nii.gz",
        picture=folder / "registration.png",
        t1w=folder / "space-pet_desc-preproc_T1w.nii.gz",
        transform=folder / "from-T1w_to-pet_xfm.json",
    )
    align(
        normal,
        lows,
        t1w,
        out,
        shape=settings.shape,
        register_to=settings.register_to,
        seed=seed,
        threads=threads,
    )


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="The method's name, e.g. tv.")],
    derivatives: Annotated[Path, typer.Argument(help="Aligned subjects: <results>/derivatives/csrd.")],
    model: Annotated[Path, typer.Argument(help="The folder of the fitted method.")],
    subject: Annotated[list[str], typer.Option(help="A subject to train on; may be repeated.")],
    validation: Annotated[list[str] | None, typer.Option(help="A subject to choose on.")] = None,
    config: Configuration = None,
    threads: Threads = CORES,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train one network together: one for each GPU.")
    ] = 1,
) -> None:
    """Fit a method on aligned subjects, at the doses in train_drfs."""
    from csrd.cohort.derivatives import find_pairs
    from csrd.methods.base import FitContext, TrainingPair
    from csrd.methods.train import train

    configuration = _configuration(config)
    settings = configuration.of_method(method)
    splits = dict.fromkeys(subject, "train") | dict.fromkeys(validation or [], "validation")
    pairs = [TrainingPair(**files) for files in find_pairs(derivatives, splits, configuration.train_drfs)]
    context = FitContext(configuration.seed, configuration.metrics, threads)
    train(method, pairs, settings, model, context, processes=processes)


@app.command()
def denoise(
    low: Annotated[
        Path,
        typer.Argument(help="A low-dose image, scaled to the normal dose, on any grid, or its DICOM folder."),
    ],
    target: Annotated[
        Path, typer.Argument(help="The denoised image, .nii.gz, on the same grid; of DICOM a new folder.")
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
        typer.Option(min=1, help="The dose reduction factor; else the sidecar's, else from its noise."),
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="csrd: mean, sample, average of the samples, or table (the default).")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="csrd: samples to draw.")] = None,
    std: Annotated[
        Path | None, typer.Option(help="csrd: where the standard deviation goes, .nii.gz.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="csrd: steps of the sampler.")] = None,
    device: Annotated[Device, typer.Option(help="Where networks run.")] = Device.auto,
) -> None:
    """Denoise one image with a fitted method; without --model by CSR-D as it comes with the package."""
    if not low.exists():
        raise InputError(f"{low} does not exist; check the path")
    from csrd.io.dicom import as_nifti
    from csrd.methods.scan import denoise_file

    choices = {"model": model, "drf": drf, "product": product, "samples": samples, "steps": steps}
    with as_nifti([low, mr], target) as ((low, mr), target):
        denoise_file(low, target, mr=mr, std=std, device=device.value, **choices)


@app.command()
def evaluate(
    reference: Annotated[Path, typer.Argument(help="The image of the normal dose.")],
    image: Annotated[Path, typer.Argument(help="The image to judge, on the same grid.")],
    mask: Annotated[Path, typer.Option(help="The head's mask, on the same grid.")],
    low: Annotated[
        Path | None, typer.Option(help="The low-dose image; only metrics.protocol: released needs it.")
    ] = None,
    config: Configuration = None,
) -> None:
    """Print as JSON how far an image is from the normal dose, in the images' unit."""
    from csrd.io.volume import Volume
    from csrd.metrics.evaluate import metrics_of

    settings = _configuration(config).metrics
    untouched = Volume.load(low) if low else None
    normal, head = Volume.load(reference), Volume.load(mask, unit="mask")
    if not head.same_grid(normal):
        raise InputError(f"{mask} is not on the grid of {reference}; take the mask made from this reference")
    metrics = metrics_of(normal, head.array > 0, settings, untouched)
    judged = Volume.load(image)
    print(json.dumps({key: metric(judged) for key, metric in metrics.items()}, indent=2))


@app.command()
def weights(
    network: Annotated[str, typer.Argument(help="vgg19 (P_dist) or alexnet (LPIPS).")],
    folder: Annotated[Path, typer.Argument(help="Where it is kept: metrics.weights of the configuration.")],
) -> None:
    """Download an ImageNet network for the metrics, once; its content is checked."""
    from csrd.imagenet import WEIGHTS, fetch

    if network not in WEIGHTS:
        raise InputError(f"{network} is no network; choose from {', '.join(WEIGHTS)}")
    print(fetch(network, folder))


def _configuration(path: Path | None):
    """Return the configuration in a YAML file, or the defaults."""
    import yaml

    from csrd.config import load

    try:
        values = yaml.safe_load(path.read_text()) if path else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no readable YAML ({reason}); see config/config.yaml") from None
    if not isinstance(values, dict | None):
        raise InputError(f"{path} holds no keys; see config/config.yaml")
    return load(values or {})


def _dose(text: str) -> tuple[int, Path]:
    """Return 4=file.nii.gz as (4, file.nii.gz)."""
    drf, separator, path = text.partition("=")
    if not separator or not drf.isdigit():
        raise InputError(f"--low is {text!r}; write the dose reduction factor and the file, as 4=low.nii.gz")
    return int(drf), Path(path)

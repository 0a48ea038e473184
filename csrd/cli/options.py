"""The application, and the options that several commands have."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from csrd.errors import InputError

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


def configuration(path: Path | None):
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


def subject_of(name: str | None, path: Path) -> str:
    """Return the requested subject, else the one in a file's name."""
    from csrd.io import bids

    if name is not None and not re.fullmatch(r"sub-[A-Za-z0-9]+", name):
        raise InputError(f"--subject is {name!r}; write sub- and letters or digits, as sub-01")
    return name or bids.subject_of(path)

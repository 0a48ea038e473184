"""A BIDS dataset denoised by the workflow: what `csrd bids` plans, and how it starts snakemake."""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import csrd
from csrd.cohort import labels_of_scans
from csrd.cohort.scans import filters_in, read_scans
from csrd.cohort.subject import Subject
from csrd.config import ATLAS, TRUTH, load
from csrd.errors import CsrdError, InputError
from csrd.extras import require
from csrd.io.bids import sidecar_path
from csrd.io.files import read_json, refuse_locked, write_text
from csrd.methods import method
from csrd.methods.base import MODEL_FILE
from csrd.pretrained import KEYS, PACKAGED, locate

WORK = ".csrd"
"""The folder of logs, models and the record of each selection, in the derivatives; BIDS ignores it."""
TABLE, METHODS = "csrd_scans.tsv", "csrd_methods.md"
RETEST = "csrd_retest.tsv"
LONG = 40  # characters in the name of a selection's folder


class RunFailed(CsrdError):
    """A run of the workflow that ended with an error, which snakemake has shown."""


@dataclass(frozen=True)
class Choices:
    """What the user selects of a dataset, and how it is denoised; see `csrd bids --help`."""

    select: dict[str, Any] = field(default_factory=dict)
    filter_file: Path | None = None
    no_mr: bool = False
    model: Path | None = None
    std: bool = False
    units: str | None = None
    kinetics: dict[str, Any] = field(default_factory=dict)


def settings_of(bids: Path, out: Path, choices: Choices) -> dict[str, Any]:
    """Return the configuration of a run.

    Raises InputError where dataset, output folder, model or filter file cannot be used.
    """
    bids, out = bids.resolve(), out.resolve()
    _check_folders(bids, out)
    chosen = filters_in(choices.filter_file) if choices.filter_file else {}
    chosen |= {name: labels for name, labels in choices.select.items() if labels}
    methods, models = _model(choices)
    if choices.no_mr or not any(method(key).wants_mr for key in methods):
        chosen["mr"] = False
    cohort = {"bids": str(bids), "as_is": True, "std": choices.std, "models": models, "select": chosen}
    if choices.units:
        cohort["units"] = choices.units
    kinetics = {name: value for name, value in choices.kinetics.items() if value is not None}
    if (labels := kinetics.get("labels")) not in (None, ATLAS, TRUTH):
        kinetics["labels"] = str(Path(labels).resolve())
    if kinetics and labels is None:
        raise InputError(f"there are no regions for {', '.join(kinetics)}; give --labels too")
    return {
        "results_dir": str(out / WORK / _name_of(chosen)),
        "derivatives_dir": str(out),
        "methods": methods,
        "cohort": cohort,
        **({"kinetics": kinetics} if kinetics else {}),
    }


def planned(settings: dict[str, Any]) -> tuple[Subject, ...]:
    """Return the scans of a run.

    Raises InputError where none is selected, one cannot be read, or a scan lacks the MR that the model needs.
    """
    config = load(settings)
    assert config.cohort.bids is not None, "a run has a dataset"
    found = read_scans(Path(config.cohort.bids), config.cohort)
    labels_of_scans(config, {scan.id: scan for scan in found})
    lacking = [scan.id for scan in found if scan.t1w is None]
    if lacking and not config.methods_without_mr:
        raise InputError(
            f"{', '.join(lacking)} without a T1w image, which {config.methods[0]} needs; select others, or "
            "name a model without MR"
        )
    return found


def outdated(settings: dict[str, Any], scans: Iterable[Subject]) -> list[str]:
    """Return the denoised images of scans that are of another model than that of the run."""
    out, models = Path(settings["derivatives_dir"]), locate(settings["cohort"]["models"], settings["methods"])
    hashes = {key: read_json(folder / MODEL_FILE).get("weights_sha256") for key, folder in models.items()}
    found = []
    for scan in scans:
        for key, wanted in hashes.items():
            image = out / scan.folder / "pet" / f"{scan.id}_desc-{key}_pet.nii.gz"
            sidecar = sidecar_path(image)
            if image.exists() and sidecar.exists() and read_json(sidecar).get("WeightsSha256") != wanted:
                found.append(str(image))
    return found


def sentences(scans: Iterable[Subject]) -> list[str]:
    """Return what will be denoised, a line for each scan, and how it was chosen."""
    found = []
    for scan in scans:
        assert scan.pet is not None, "a scan as it is has one image"
        found.append(f"{scan.pet.name}, {f'with {scan.t1w.name}' if scan.t1w else 'without an MR'}")
        found += [f"  {note}" for note in scan.notes]
    return found


def run(
    settings: dict[str, Any],
    level: str,
    cores: int,
    profile: Path | None = None,
    dry: bool = False,
    again: Sequence[str] = (),
    more: Sequence[str] = (),
) -> None:
    """Run the workflow for a level, "participant" or "group"; images `again` are made again.

    A `dry` run writes nothing into the derivatives.
    Raises RunFailed where it ends with an error; the same command goes on where it was.
    """
    require("workflow", "denoising a dataset")
    if profile and not (profile.is_dir() and any(profile.glob("config*.yaml"))):
        raise InputError(f"{profile} is not a profile of snakemake: it has no config.yaml; check the path")
    out, folder = Path(settings["derivatives_dir"]), Path(settings["results_dir"])
    refuse_locked(out / TABLE)
    targets = [str(out / TABLE)] if level == "group" else []
    if level == "group" and any(out.glob("sub-*/**/pet/*_kinpar.tsv")):
        refuse_locked(out / RETEST)
        targets.append(str(out / RETEST))
    if level == "group" and not any(out.glob("sub-*/**/pet/*_pet.json")):
        raise InputError(f"{out} has no denoised scan; run the level participant first")
    options = ["--workflow-profile", str(profile.resolve())] if profile else []
    options += ["--forcerun", *again] if again else []
    options += [*more, *targets]
    if dry:
        with tempfile.TemporaryDirectory(prefix="csrd-bids-") as scratch:
            place = folder if folder.is_dir() else Path(scratch)  # where a run has left its record
            code = _snakemake(settings, place, Path(scratch), cores, ["--dry-run", *options])
    else:
        code = _snakemake(settings, folder, folder, cores, options)
    if code:
        raise RunFailed(
            f"the workflow did not finish; correct what is said above (logs: {folder / 'logs'}), and run the "
            "command again"
        )


def _snakemake(settings: dict[str, Any], folder: Path, config: Path, cores: int, options: list[str]) -> int:
    """Run snakemake in a folder, by settings that are written into the folder `config`; return its status."""
    import yaml

    file = config / "config.yaml"
    write_text(file, yaml.safe_dump(_plain(settings), sort_keys=False))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile()), "--directory", str(folder),
               "--configfile", str(file), "--cores", str(cores)]  # fmt: skip
    return subprocess.run([*command, *options]).returncode


def snakefile() -> Path:
    """Return the workflow's Snakefile.

    Raises InputError where it is not there: the package was installed without the repository.
    """
    root = Path(csrd.__file__).resolve().parents[1]
    path = root / "workflow" / "Snakefile"
    if not path.is_file():
        raise InputError(f"{path} does not exist; install csrd in a clone: pip install -e '.[workflow]'")
    return path


def _check_folders(bids: Path, out: Path) -> None:
    """Raise InputError for an output folder that would mix with the dataset, or is another dataset."""
    if not bids.is_dir():
        raise InputError(f"{bids} is not a folder; give the root of a BIDS dataset")
    inside = out.is_relative_to(bids) and not out.is_relative_to(bids / "derivatives")
    if inside or bids.is_relative_to(out) or out == bids / "derivatives":
        raise InputError(
            f"{out} would mix with the dataset {bids}; name {bids / 'derivatives' / 'csrd'}, "
            "or a folder outside"
        )
    description = out / "dataset_description.json"
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder")
    if description.is_file():
        made = read_json(description).get("GeneratedBy") or [{}]
        if not any(isinstance(by, dict) and by.get("Name") == "csrd" for by in made):
            raise InputError(f"{out} is a dataset that csrd did not write; name another folder")


def _model(choices: Choices) -> tuple[list[str], str]:
    """Return the methods of a run, and the folder of their models."""
    if choices.model is None:
        return (["csrdnomr"] if choices.no_mr else list(KEYS)), PACKAGED
    folder = choices.model.parent if choices.model.name == MODEL_FILE else choices.model
    key = str(read_json(folder / MODEL_FILE).get("method"))
    if choices.no_mr and method(key).wants_mr:
        raise InputError(f"the model in {folder} needs an MR; leave --no-mr out, or name a model without MR")
    return [key], str(folder.resolve())


def _name_of(chosen: dict[str, Any]) -> str:
    """Return the name of a selection's folder, so that several participants can be run at once."""
    labels = chosen.get("participant") or ("all",)
    name = "+".join(labels)
    if chosen.keys() - {"participant"} or len(name) > LONG or not name.replace("+", "").isalnum():
        name = hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:12]
    return name


def _plain(value: Any) -> Any:
    """Return a value with lists in place of tuples, for YAML."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value

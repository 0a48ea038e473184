"""Measured scans of a public dataset on OpenNeuro: what a reconstruction needs, fetched, and their sheet.

The client is `openneuro-py`, a program of its own (`make openneuro` installs it): it verifies checksums and
continues an interrupted download. Only the list of files is read here, for their sizes.
"""

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from csrd.errors import InputError
from csrd.io.bids import inherited
from csrd.io.files import read_json, write_text
from csrd.io.tables import read_tsv

SERVER = "https://openneuro.org/crn/graphql"
QUERY = (
    'query { dataset(id: "%s") { latestSnapshot { id files(recursive: true) { filename size directory } } } }'
)
TIMEOUT_S = 60
PROGRAM = "openneuro-py"
ALWAYS = ("dataset_description.json", "participants.tsv")
COLUMNS = ("participant_id", "split", "tracer", "listmode", "t1w", "mumap", "normalisation", "vendor",
           "weight_kg", "injected_MBq")  # fmt: skip
WEIGHTS, ACTIVITIES = ("weight", "body_weight"), ("dose", "injected_MBq")
SHEET, CONFIG = "subjects.tsv", "cohort.yaml"


@dataclass(frozen=True)
class Wanted:
    """The names of one subject's files in a dataset; `mumaps` are candidates, chosen by their sidecars."""

    subject: str
    listmode: tuple[str, ...]
    norm: tuple[str, ...]
    t1w: tuple[str, ...]
    vendor: tuple[str, ...]
    mumaps: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """Return the files to fetch but for the μ-map's image."""
        sidecars = [_sidecar(name) for name in (*self.t1w[:1], *self.vendor[:1], *self.mumaps)]
        sidecars += [str(Path(self.listmode[1]).with_suffix(".json"))]
        return [*self.listmode, *self.norm, *self.t1w[:1], *self.vendor[:1], *sidecars]


def openneuro(
    dataset: str,
    subjects: Sequence[str],
    folder: Path,
    *,
    dry_run: bool = False,
    splits: Mapping[str, str] | None = None,
    server: str = SERVER,
) -> dict:
    """Fetch the list-mode, normalisation, μ-map and T1w image of subjects, write a sheet, and sum up.

    `subjects` are labels, without which all are meant that have list-mode. Half of them, rounded down, are
    test subjects, one is for validation, the others are trained on; `splits` by subject replaces this. With
    `dry_run` sizes are listed and nothing is fetched.
    Raises InputError for a dataset or subject that is not there, or lacks a file.
    """
    sizes = listing(dataset, server)
    found = [wanted(sizes, name) for name in _subjects(dataset, sizes, subjects)]
    largest = [_largest_mumap(one, sizes) for one in found]
    names = [name for one in found for name in one.files] + largest
    names = [name for name in (*ALWAYS, *names) if name in sizes]
    summary = {
        "dataset": dataset,
        "subjects": [one.subject for one in found],
        "files": len(names),
        "gigabytes": round(sum(sizes[name] for name in names) / 1e9, 3),
        "folder": str(folder),
    }
    if dry_run:
        return summary | {"bytes_by_file": {name: sizes[name] for name in names}}
    splits = splits or split_of([one.subject for one in found])  # before gigabytes are fetched
    print(f"{len(names)} files, {summary['gigabytes']:g} GB, into {folder}", file=sys.stderr)
    fetch(dataset, [name for name in names if name not in largest], folder)
    mumaps = {one.subject: choose_mumap(one, folder) for one in found}
    fetch(dataset, list(mumaps.values()), folder)
    write_sheet(found, mumaps, folder, splits)
    cohort = json.dumps({"sheet": str(folder / SHEET)})  # which is YAML too
    write_text(folder / CONFIG, f"# of csrd openneuro {dataset}\ncohort: {cohort}\n")
    return summary | {"sheet": str(folder / SHEET), "config": str(folder / CONFIG)}


def listing(dataset: str, server: str = SERVER) -> dict[str, int]:
    """Return the sizes in bytes of a dataset's files by name.

    Raises InputError where the server cannot be reached or has no such dataset.
    """
    if not re.fullmatch(r"ds\d{6}", dataset):
        raise InputError(f"the dataset is {dataset!r}; write ds and six digits, as ds003382")
    body = json.dumps({"query": QUERY % dataset}).encode()
    request = urllib.request.Request(server, body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # nosec B310
            content = json.loads(answer.read())
        files = content["data"]["dataset"]["latestSnapshot"]["files"]
        return {file["filename"]: int(file["size"] or 0) for file in files if not file.get("directory")}
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{server} cannot be reached ({reason}); run the command again") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{server} lists no files of {dataset}; check the name of the dataset") from None


def wanted(sizes: Iterable[str], subject: str) -> Wanted:
    """Return the files of a subject.

    Raises InputError where list-mode, normalisation, T1w image or μ-map is missing.
    """
    own = sorted(name for name in sizes if f"/{subject}/" in f"/{name}")

    def named(pattern: str) -> tuple[str, ...]:
        return tuple(name for name in own if re.search(pattern, name))

    found = Wanted(
        subject,
        named(r"sourcedata/.*listmode\.(dcm|bf)$"),
        named(r"sourcedata/.*norm\.(dcm|bf)$"),
        named(r"/anat/.*T1w\.nii\.gz$"),
        named(r"/pet/.*rec-acstat_.*pet\.nii\.gz$"),
        named(r"/(ute|dixon)/(?!.*original).*\.nii\.gz$"),
    )
    for part, names in (("list-mode", found.listmode), ("normalisation", found.norm)):
        if [Path(name).suffix for name in names] != [".bf", ".dcm"]:
            raise InputError(f"{subject} has {len(names)} files of {part}, not one pair; leave it out")
    for part, names in (("T1w image", found.t1w), ("μ-map", found.mumaps)):
        if not names:
            raise InputError(f"{subject} has no {part}; choose other subjects")
    return found


def fetch(dataset: str, names: Sequence[str], folder: Path) -> None:
    """Download files of a dataset by `openneuro-py`, or what is missing of them.

    Raises InputError where the program is missing or fails.
    """
    program = shutil.which(PROGRAM) or next(iter(map(str, _beside())), None)
    if program is None:
        raise InputError(f"{PROGRAM} is not installed; run: make openneuro, or: pip install {PROGRAM}")
    include = [word for name in names for word in ("--include", name)]
    command = [program, "download", "--dataset", dataset, "--target-dir", str(folder), *include]
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode:
        raise InputError(f"{PROGRAM} could not fetch all files of {dataset}; run the same command again")
    lacking = [name for name in names if not (folder / name).is_file()]
    if lacking:
        raise InputError(f"{PROGRAM} did not fetch {lacking[0]}; run the same command again")


def choose_mumap(one: Wanted, folder: Path) -> str:
    """Return the μ-map among the candidates, by their sidecars.

    Its ImageType has a UMAP. Files named umap come first, then those of UTE (which knows bone), then the
    last acquired.
    """
    ranked = []
    for name in one.mumaps:
        sidecar = inherited(folder / name)
        if any(str(part).startswith("UMAP") for part in sidecar.get("ImageType", ())):
            rank = "umap" in name, "/ute/" in name, _clock(sidecar.get("AcquisitionTime")), name
            ranked.append((rank, name))
    if not ranked:
        raise InputError(f"none of {one.subject}'s images in ute/ and dixon/ is a μ-map by its sidecar")
    return max(ranked)[1]


def split_of(subjects: Sequence[str]) -> dict[str, str]:
    """Return the split of each subject: half are tested, one is for validation, the others are trained on.

    Raises InputError for fewer than three.
    """
    if len(subjects) < 3:
        raise InputError(
            f"{len(subjects)} subjects cannot be split into training, validation and test; give 3 or more"
        )
    test = max(1, len(subjects) // 2) if len(subjects) > 3 else 1
    train = len(subjects) - test - 1
    return dict(zip(subjects, ["train"] * train + ["validation"] + ["test"] * test, strict=True))


def write_sheet(
    found: Iterable[Wanted], mumaps: Mapping[str, str], folder: Path, splits: Mapping[str, str]
) -> None:
    """Write the sheet of fetched subjects into the dataset's folder."""
    table = read_tsv(folder / "participants.tsv", "config/subjects.tsv")
    people = {row["participant_id"]: row for _, row in table.rows}
    lines = ["\t".join(COLUMNS)]
    for one in found:
        person = people.get(one.subject, {})
        cells = {
            "participant_id": one.subject,
            "split": splits[one.subject],
            "tracer": _tracer(one, folder),
            "listmode": one.listmode[1],
            "t1w": one.t1w[0],
            "mumap": mumaps[one.subject],
            "normalisation": one.norm[1],
            "vendor": one.vendor[0] if one.vendor else "n/a",
            "weight_kg": next((person[key] for key in WEIGHTS if person.get(key)), "n/a"),
            "injected_MBq": next((person[key] for key in ACTIVITIES if person.get(key)), "n/a"),
        }
        lines.append("\t".join(cells[column] for column in COLUMNS))
    write_text(folder / SHEET, "\n".join(lines) + "\n")


def _subjects(dataset: str, sizes: Iterable[str], labels: Sequence[str]) -> list[str]:
    """Return the subjects' names, sub-<label>, in the order given, or all with list-mode."""
    scans = (re.search(r"(sub-[A-Za-z0-9]+)/.*listmode", name) for name in sizes)
    there = sorted({match[1] for match in scans if match})
    names = [f"sub-{label.removeprefix('sub-')}" for label in labels] or there
    for name in names:
        if name not in there:
            known = ", ".join(there) or "none"
            raise InputError(f"{dataset} has no list-mode of {name}; choose from {known}")
    return list(dict.fromkeys(names))


def _largest_mumap(one: Wanted, sizes: Mapping[str, int]) -> str:
    """Return the largest candidate, which bounds what the μ-map's image takes."""
    return max(one.mumaps, key=lambda name: sizes[name])


def _tracer(one: Wanted, folder: Path) -> str:
    """Return the tracer in the list-mode's sidecar or the vendor image's name, letters and digits only."""
    match = re.search(r"_trc-([A-Za-z0-9]+)", one.vendor[0]) if one.vendor else None
    sidecar = (folder / one.listmode[1]).with_suffix(".json")
    stated = read_json(sidecar).get("TracerName", "") if sidecar.is_file() else ""
    named = match[1] if match else str(stated)
    return re.sub(r"[^A-Za-z0-9]", "", named) or "n/a"


def _clock(text: object) -> tuple[float, ...]:
    """Return a sidecar's time of day as numbers that can be compared."""
    return tuple(float(part) for part in re.findall(r"[\d.]+", str(text or "")))


def _sidecar(name: str) -> str:
    return name.removesuffix(".nii.gz") + ".json"


def _beside() -> Iterable[Path]:
    """Yield the program in the environment that `make openneuro` builds beside the interpreter's."""
    path = Path(sys.executable).parent.parent / "openneuro" / "bin" / PROGRAM
    if path.is_file():
        yield path

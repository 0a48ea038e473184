"""File names and sidecars of a study in BIDS; no other module composes them.

A name is ``sub-<label>``, further entities in the order of `ENTITIES`, and a suffix, joined by ``_``.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import csrd
from csrd.errors import InputError
from csrd.io.files import read_json, write_json, write_text

if TYPE_CHECKING:  # nibabel takes a while, and a plan of the workflow needs names alone
    from csrd.io.volume import Volume

ENTITIES = ("ses", "task", "trc", "rec", "run", "draw", "drf", "space", "from", "to", "desc")
"""After ``sub``. `draw` and `drf` are the project's own and stay out of the derivatives."""
KINDS = {
    "listmode": ("", "listmode"),
    "t1w": ("", "T1w"),
    "mumap": ("", "mumap"),
    "normalisation": ("", "normalisation"),
    "facts": ("", "subject"),
    "inputs": ("", "inputs"),
    "activity": ("truth", "activity"),
    "labels": ("truth", "labels"),
    "brain_mask": ("truth", "brainmask"),
    "mr_to_pet": ("truth", "mrToPet"),
    "scanner": ("", "scanner"),
    "sensitivity": ("", "sensitivity"),
    "scatter": ("", "scatter"),
    "pet": ("", "pet"),
}
"""Subfolder and suffix of each kind of file in raw/, thinned/, recon/ and draws/."""
DOSE = re.compile(r"[Dd]rf(\d+)$")  # end of the label of `rec` for a low dose, as in acstatDrf4
BIDS_VERSION = "1.10.0"
NOTES_KEY = "InputNotes"
"""The sidecar's key for assumptions about an input whose file is incomplete or contradictory."""
REQUIRED_OF_PET = (
    *("Manufacturer", "ManufacturersModelName", "Units", "TracerName", "TracerRadionuclide"),
    *("InjectedRadioactivity", "InjectedRadioactivityUnits", "InjectedMass", "InjectedMassUnits"),
    *("SpecificRadioactivity", "SpecificRadioactivityUnits", "ModeOfAdministration", "TimeZero", "ScanStart"),
    *("InjectionStart", "FrameTimesStart", "FrameDuration", "AcquisitionMode", "ImageDecayCorrected"),
    *("ImageDecayCorrectionTime", "ReconMethodName", "ReconMethodParameterLabels"),
    *("ReconFilterType", "AttenuationCorrection"),
)
"""What BIDS requires of every raw PET image; of a derivative it recommends them."""
README = """Derivatives of CSR-D: PET images of the normal dose (desc-reference) and of low ones
(rec-acstatDrf<factor>), as reconstructed (desc-lowdose) and denoised (desc-<method>), with the MR and the
head mask on the same grid.
"""


README_AS_IS = """Derivatives of CSR-D: the PET images of a dataset, denoised (desc-<method>), and the
predicted standard deviation beside them (desc-<method>Std) where it was requested. csrd_methods.md describes
how.
"""
IGNORED = "*_xfm.json\n*_tacs.*\n*_kinpar.*\npet/*_dseg.*\n**/pet/*_dseg.*\ncsrd_*\n"
"""BIDS has no name for transforms yet, nor for curves and what is fitted to them, nor for tables of scans."""


@dataclass(frozen=True)
class Scan:
    """The names of one scan's files, relative to a dataset's root and without extension.

    `subject` is ``sub-<label>``; the others are labels. Any of them, and any dose or method, may be a
    Snakemake wildcard in braces: the name is then the pattern of a rule.
    """

    subject: str
    session: str | None = None
    run: str | None = None
    tracer: str | None = None

    def name(self, suffix: str = "", part: str = "", **entities: object) -> str:
        """Return ``sub-01/[ses-…/][part/]sub-01_<entities>_<suffix>``, the suffix where there is one.

        >>> Scan("sub-01", session="2", tracer="DASB").name("pet", "pet", trc="DASB", desc="tv")
        'sub-01/ses-2/pet/sub-01_ses-2_trc-DASB_desc-tv_pet'
        """
        values = {"ses": self.session, "run": self.run, **entities}
        assert values.keys() <= set(ENTITIES), f"unknown entities in {values}"
        labels = [f"{key}-{values[key]}" for key in ENTITIES if values.get(key) is not None]
        folders = [
            self.subject,
            *([f"ses-{self.session}"] if self.session else []),
            *([part] if part else []),
        ]
        return "/".join([*folders, "_".join([self.subject, *labels, *([suffix] if suffix else [])])])

    def file(self, kind: str, **entities: object) -> str:
        """Return the name of a file outside the derivatives, by its kind in `KINDS`.

        >>> Scan("sub-01").file("listmode", drf=4), Scan("sub-01").file("labels")
        ('sub-01/sub-01_drf-4_listmode', 'sub-01/truth/sub-01_labels')
        """
        part, suffix = KINDS[kind]
        return self.name(suffix, part, **entities)

    @property
    def reference(self) -> str:
        """Return the name of the normal dose on the common grid."""
        return self._pet("acstat", "reference")

    @property
    def mr(self) -> str:
        """Return the name of the T1w image on the PET's grid."""
        return self.name("T1w", "anat", space="pet", desc="preproc")

    @property
    def head(self) -> str:
        """Return the name of the head mask."""
        return self.name("mask", "anat", space="pet", desc="head")

    @property
    def transform(self) -> str:
        """Return the name of the matrix from the PET's world to that of the T1w image."""
        return self.name("xfm", "anat", **{"from": "T1w", "to": "pet"})

    def low(self, drf: object) -> str:
        """Return the name of a low dose as reconstructed, on the common grid."""
        return self.denoised(drf, "lowdose")

    def denoised(self, drf: object, method: str) -> str:
        """Return the name of a low dose after a method."""
        return self._pet(f"acstatDrf{drf}", method)

    def std(self, drf: object, method: str) -> str:
        """Return the name of the predicted standard deviation beside that image."""
        return self._pet(f"acstatDrf{drf}", f"{method}Std")

    def _pet(self, reconstruction: str, description: str) -> str:
        return self.name("pet", "pet", trc=self.tracer, rec=reconstruction, desc=description)


def entities_of(path: str | Path) -> dict[str, str]:
    """Return the entities in a file's name.

    >>> entities_of("a/sub-01_trc-DASB_rec-acstatDrf4_desc-tv_pet.nii.gz")["rec"]
    'acstatDrf4'
    """
    parts = (part.partition("-") for part in _stem(path).split("_"))
    return {key: label for key, separator, label in parts if separator}


def subject_of(path: str | Path) -> str:
    """Return ``sub-<label>`` in a file's name, else one made of the letters and digits of the name.

    >>> subject_of("sub-01_drf-4_listmode.l64"), subject_of("my scan.l64")
    ('sub-01', 'sub-myscan')
    """
    label = entities_of(path).get("sub") or re.sub(r"[^A-Za-z0-9]", "", _stem(path))
    return f"sub-{label}"


def dose_of(path: str | Path) -> int | None:
    """Return the dose reduction factor in a file's name, by `drf` or the end of `rec`; None: it has none.

    >>> dose_of("sub-01_drf-10_pet.nii.gz"), dose_of("sub-01_rec-acstatDrf4_desc-tv_pet.nii.gz")
    (10, 4)
    """
    entities = entities_of(path)
    if (label := entities.get("drf", "")).isdigit():
        return int(label)
    found = DOSE.search(entities.get("rec", ""))
    return int(found[1]) if found else None


def images_in(folder: Path, suffix: str, part: str = "", **entities: str) -> list[Path]:
    """Return the NIfTI images under a folder by suffix, subfolder and entities, in any session; sorted.

    A link to a file that is not there, as git-annex leaves one, counts as an image.
    """
    return sorted(
        path
        for path in folder.rglob(f"{part or '.'}/*_{suffix}.nii*")
        if (path.is_file() or path.is_symlink()) and entities.items() <= entities_of(path).items()
    )


def find_aligned(root: Path, subjects: Iterable[str], drfs: Iterable[int]) -> dict[str, list[Path]]:
    """Return the aligned images of subjects: `lows` by subject and dose; `normals`, `mrs`, `masks`.

    `root` is the derivatives' folder. Raises InputError for a subject or dose that is not there.
    """
    names, drfs = list(subjects), list(drfs)
    return {
        "lows": [_only(root, name, Scan(name).low(drf)) for name in names for drf in drfs],
        "normals": [_only(root, name, Scan(name).reference) for name in names],
        "mrs": [_only(root, name, Scan(name).mr) for name in names],
        "masks": [_only(root, name, Scan(name).head) for name in names],
    }


def _only(root: Path, subject: str, wanted: str) -> Path:
    """Return the one image of the name `wanted`; tracer, session and run in its name are ignored."""
    folder, _, name = wanted.rpartition("/")
    part, suffix = folder.rpartition("/")[2], name.rpartition("_")[2]
    found = images_in(root / subject, suffix, part, **entities_of(name))
    if len(found) != 1:
        raise InputError(
            f"{root / folder} has {len(found)} files for {name}.nii.gz; give aligned subjects and their doses"
        )
    return found[0]


def _stem(path: str | Path) -> str:
    return Path(path).name.partition(".")[0]


def sidecar_path(path: str | Path) -> Path:
    """Return where the sidecar of a NIfTI file lies."""
    path = Path(path)
    return path.parent / (path.name.removesuffix(".gz").removesuffix(".nii") + ".json")  # of . too


def inherited(path: str | Path) -> dict:
    """Return the sidecar of an image, {} where it has none.

    In a BIDS dataset an image inherits the keys of sidecars with the same suffix and no other entities, from
    the dataset's root down to its own folder; a nearer sidecar has precedence.
    """
    found: dict = {}
    for sidecar in sidecars_of(path):
        found |= read_json(sidecar)
    return found


def sidecars_of(path: str | Path) -> list[Path]:
    """Return the sidecars that an image inherits, the nearest last."""
    path = Path(path)
    own = sidecar_path(path)
    beside = [own] if own.exists() else []
    entities, suffix = entities_of(path), _stem(path).rpartition("_")[2]
    folders = list(path.absolute().parents)
    top = next((i for i, folder in enumerate(folders) if folder.name == f"sub-{entities.get('sub')}"), None)
    if top is None or not (folders[top + 1] / "dataset_description.json").is_file():
        return beside
    found = [
        sidecar
        for folder in reversed(folders[1 if beside else 0 : top + 2])  # one's own leaves out those beside it
        for sidecar in sorted(folder.glob(f"*{suffix}.json"), key=lambda path: len(entities_of(path)))
        if _stem(sidecar).rpartition("_")[2] == suffix and entities_of(sidecar).items() <= entities.items()
    ]
    return found + beside


def save_with_sidecar(volume: "Volume", path: str | Path, sidecar: Mapping[str, object]) -> None:
    """Write a volume and, beside it, its JSON sidecar."""
    volume.save(path)
    write_json(sidecar_path(path), dict(sidecar))


def bids_uri(path: str | Path) -> str:
    """Return the BIDS URI of a file, which starts at its subject's folder: ``bids::sub-01/pet/….nii.gz``.

    Files of other stages use the dataset links of `write_description`, e.g. ``bids:recon:sub-01/….nii.gz``.
    A file outside any subject's folder has its name alone.
    """
    parts = Path(path).parts
    subject = next((i for i, part in enumerate(parts[:-1]) if part.startswith("sub-")), None)
    if subject is None:
        return Path(path).name
    stage = parts[subject - 1] if subject and parts[subject - 1] in ("raw", "recon") else ""
    return f"bids:{stage}:" + "/".join(parts[subject:])


def pet_sidecar(source: str | Path, unit: str, **more: object) -> dict:
    """Return the sidecar of a PET image made from `source`, with the keys of that image's sidecar."""
    known = {"SkullStripped": False, **inherited(source)}  # the input may have been stripped
    if unit:
        known["Units"] = unit
    return {**known, "Sources": [bids_uri(source)], **more}


RAW_URI = "bids:raw:"


def with_known(sidecar: dict, known: Mapping[str, Any] | None, source: str | Path) -> dict:
    """Return the sidecar of an image made from `source` with further entries; notes are added to its own.

    Where the entries say that the source is of a raw dataset, notes name its files from the dataset's root.
    """
    if not known:
        return sidecar
    notes = [*known.get(NOTES_KEY, ()), *sidecar.get(NOTES_KEY, ())]
    if (uri := str(known.get("Sources", [""])[0])).startswith(RAW_URI):
        root = str(source).removesuffix(uri.removeprefix(RAW_URI))
        notes = [note.replace(root, "") for note in notes]
    return {**sidecar, **known, **({NOTES_KEY: notes} if notes else {})}


def missing_keys(sidecars: Iterable[str | Path]) -> dict[str, int]:
    """Return how many of the PET sidecars lack each of the `REQUIRED_OF_PET` keys, where any does."""
    contents = [read_json(path) for path in sidecars]
    lacking = {key: sum(key not in content for content in contents) for key in REQUIRED_OF_PET}
    return {key: count for key, count in lacking.items() if count}


def write_description(
    description: str | Path, sidecars: Iterable[str | Path] = (), raw: str | None = None
) -> None:
    """Write the `description` of derivatives, ``dataset_description.json``; beside it README and .bidsignore.

    The README lists the keys that BIDS requires of PET and the `sidecars` lack. `raw` is the dataset whose
    scans were denoised as they are: all sidecars of the derivatives are then read, of former runs too.
    """
    folder = Path(description).parent
    sidecars = list(sidecars) if raw is None else sorted(folder.glob("sub-*/**/pet/*_pet.json"))
    lacking = missing_keys(sidecars)
    about = README if raw is None else README_AS_IS
    write_text(folder / "README", about + _missing_text(lacking, len(sidecars)))
    links = {"raw": "../../raw", "recon": "../../recon"}
    if raw is not None:
        links = {"raw": os.path.relpath(Path(raw).resolve(), folder.resolve())}
    content = {
        "Name": "CSR-D: PET at normal and low doses, denoised" if raw is None else "CSR-D: PET, denoised",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "csrd", "Version": csrd.__version__}],
        "DatasetLinks": links,
    }
    write_json(description, content)
    write_text(folder / ".bidsignore", IGNORED)


def _missing_text(lacking: dict[str, int], count: int) -> str:
    """Return the README's paragraph about missing keys."""
    if not lacking:
        return ""
    rows = (f"- {key}" + (f" ({n} of {count} images)" if n < count else "") for key, n in lacking.items())
    return "\nBIDS requires these of raw PET; they were not given, and nothing was put in their place:\n" + (
        "\n".join(rows) + "\n"
    )

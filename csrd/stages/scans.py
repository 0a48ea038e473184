"""Scans that were denoised as they are: a paragraph about the methods, and a table of all of them."""

from collections.abc import Sequence
from pathlib import Path

import csrd
from csrd.errors import InputError
from csrd.io.bids import entities_of
from csrd.io.files import read_json, write_text
from csrd.io.volume import NOTES_KEY

PAPER = "Volumetric Conditional Score-based Residual Diffusion Model for PET/MR Denoising (MICCAI 2024)"
COLUMNS = ("participant_id", "session", "image", "method", "mr", "frames", "frames_without_counts",
           "head_coverage", "notes")  # fmt: skip
MISSING = "n/a"


def describe_methods(sidecars: Sequence[str | Path], text: str | Path, former: bool = False) -> None:
    """Write a paragraph for a paper about the scans with these sidecars, as Markdown.

    With `former` it is about all scans in the folder of derivatives in which it lies, of former runs too.
    """
    sidecars = _all_sidecars(text) if former else sidecars
    found = [read_json(path) for path in _images(sidecars)]
    with_mr = sum("RegistrationMatrix" in said or len(said["Sources"]) > 1 for said in found)
    dynamic = sum(len(said.get("FrameDuration") or []) > 1 for said in found)
    versions = sorted({said.get("Versions", {}).get("csrd", csrd.__version__) for said in found})
    models = sorted({f"{said['Denoising']} ({said['ModelSha256'][:12]})" for said in found})
    sentences = [
        f"{_counted(len(found), 'PET image')} {_were(len(found))} denoised with csrd {', '.join(versions)} "
        f"(model: {', '.join(models)}), an implementation of a residual diffusion model of low-dose brain "
        f"PET [1]. The level of noise was measured in each image."
    ]
    if with_mr:
        sentences.append(
            f"In {_counted(with_mr, 'image')} the participant's T1-weighted MR was used; where it was on "
            "another grid, it was registered rigidly to the PET by mutual information (ANTs) and resampled."
        )
    if dynamic:
        sentences.append(
            f"{_counted(dynamic, 'image')} {_were(dynamic)} dynamic: each frame was denoised by itself, and "
            "the MR was registered to the mean of the frames weighted by their durations. Frames without "
            "counts, or with too much noise, were left as they were."
        )
    if len(_images(sidecars)) < len(sidecars):
        sentences.append("The standard deviation was predicted voxel by voxel from samples.")
    paragraph = " ".join(sentences)
    write_text(
        text,
        f"# Methods\n\n{paragraph}\n\n[1] {PAPER}\n\n"
        "This text is released under CC0: use it, unchanged or changed, in your paper.\n",
    )


def list_scans(table: str | Path) -> None:
    """Write a table (TSV) of all scans in the folder of derivatives in which it lies.

    Raises InputError where there is none.
    """
    folder = Path(table).parent
    sidecars = _images(_all_sidecars(table))
    if not sidecars:
        raise InputError(f"{folder} has no denoised scan; run the level participant first")
    rows = ["\t".join(COLUMNS), *("\t".join(_row(path, folder)) for path in sidecars)]
    write_text(table, "\n".join(rows) + "\n")


def _all_sidecars(file: str | Path) -> list[Path]:
    """Return the sidecars of all PET images in the folder of derivatives in which a file lies."""
    return sorted(Path(file).parent.glob("sub-*/**/pet/*_pet.json"))


def _images(sidecars: Sequence[str | Path]) -> list[Path]:
    """Return the sidecars of images, without those of standard deviations."""
    return [path for path in map(Path, sidecars) if not entities_of(path).get("desc", "").endswith("Std")]


def _row(path: Path, folder: Path) -> list[str]:
    """Return the cells of a scan."""
    said, entities = read_json(path), entities_of(path)
    notes = " ".join(" ".join(map(str, said.get(NOTES_KEY, ()))).split())
    frames = len(said.get("FrameDuration") or []) or 1
    return [
        f"sub-{entities.get('sub', MISSING)}",
        entities.get("ses", MISSING),
        path.with_suffix(".nii.gz").relative_to(folder).as_posix(),
        said.get("Denoising", MISSING),
        next((str(source) for source in said.get("Sources", [])[1:]), MISSING),
        str(frames),
        str(len(said.get("FramesWithoutCounts", ()))),
        str(said.get("HeadCoverage", MISSING)),
        notes or MISSING,
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"

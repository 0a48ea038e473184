"""Aligned subjects found by the names of their files, for a method that is fitted by hand."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from csrd.errors import InputError


def find_pairs(root: Path, splits: Mapping[str, str], drfs: Iterable[int]) -> list[dict]:
    """Return the fields of a training pair for each subject (name by split) and dose, under `root`.

    Raises InputError for a subject or dose that is not there.
    """
    return [_pair(root, name, split, drf) for name, split in splits.items() for drf in drfs]


def _pair(root: Path, name: str, split: str, drf: int) -> dict:
    images, anatomy = root / name / "pet", root / name / "anat"
    return {
        "subject": name,
        "drf": drf,
        "low": _only(images, f"{name}*_rec-acstatDrf{drf}_desc-lowdose_pet.nii.gz"),
        "normal": _only(images, f"{name}*_rec-acstat_desc-reference_pet.nii.gz"),
        "mr": _only(anatomy, f"{name}_space-pet_desc-preproc_T1w.nii.gz"),
        "mask": _only(anatomy, f"{name}_space-pet_desc-head_mask.nii.gz"),
        "split": split,
    }


def _only(folder: Path, pattern: str) -> Path:
    """Return the one file in `folder` that matches."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(
            f"{folder} has {len(found)} files named {pattern}; give aligned subjects and their doses"
        )
    return found[0]

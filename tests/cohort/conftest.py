"""A folder with everything that a sheet of subjects names."""

from pathlib import Path

import numpy as np
import pytest

from csrd.cohort.rows import COLUMNS
from csrd.io.volume import Volume

GOOD = {
    "participant_id": "sub-A1",
    "split": "train",
    "tracer": "DASB",
    "listmode": "a.l64",
    "header": "n/a",
    "t1w": "t1w.nii.gz",
    "mumap": "mumap.nii.gz",
    "normalisation": "n/a",
    "pet": "n/a",
    "weight_kg": "70",
    "injected_MBq": "n/a",
}
IMAGES = {"listmode": "n/a", "pet": "pet.nii.gz", "pet_drf4": "low.nii.gz"}
ALONE = {"listmode": "n/a", "split": "n/a", "pet_drf4": "low.nii.gz"}


@pytest.fixture
def study(tmp_path) -> Path:
    """Return a folder with a T1w image, a μ-map, and list-mode files of a few events."""
    image = np.zeros((8, 8, 8), dtype=np.float32)
    image[2:6, 2:6, 2:6] = 1
    Volume(image * 700, np.eye(4)).save(tmp_path / "t1w.nii.gz")
    Volume(image * 0.096, np.eye(4)).save(tmp_path / "mumap.nii.gz")
    for name, noise in (("pet", 0), ("pet2", 0), ("low", 0.2), ("low2", 0.3)):
        noisy = image * 9e3 * (1 + noise * np.random.default_rng(3).standard_normal(image.shape))
        Volume(noisy.astype(np.float32), np.eye(4)).save(tmp_path / f"{name}.nii.gz")
    for name in ("a.l64", "b.l64"):
        time_tags = np.array([[1 << 30, (2 << 30) | 0x8000]] * 5, dtype="<u4")
        events = np.array([[1 << 16, (3 << 30) | 1]] * 20, dtype="<u4")
        np.concatenate([time_tags, events]).tofile(tmp_path / name)
        (tmp_path / f"{name}.hdr").write_text(
            "!INTERFILE :=\n!originating system := HRRT\ndata format := listmode\n"
        )
    return tmp_path


@pytest.fixture
def write_sheet(study):
    """Return a function that writes a sheet of the given rows, each as what differs from a good one."""

    def write(*rows: dict, columns=COLUMNS, comment: str = "# a comment\n") -> Path:
        lines = ["\t".join((GOOD | row).get(column, "n/a") for column in columns) for row in rows]
        path = study / "subjects.tsv"
        path.write_text(comment + "\n".join(["\t".join(columns), *lines]) + "\n")
        return path

    return write

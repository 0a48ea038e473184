"""Labels of regions and their names: read, brought onto a PET's grid by majority."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.bids import entities_of
from csrd.io.files import write_text
from csrd.io.tables import read_tsv
from csrd.io.volume import Volume
from csrd.resample import resample

MOST_SAMPLES = 4
"""Samples of a voxel along each axis at most."""
FREESURFER = {
    2: "Left-Cerebral-White-Matter",
    3: "Left-Cerebral-Cortex",
    4: "Left-Lateral-Ventricle",
    5: "Left-Inf-Lat-Vent",
    7: "Left-Cerebellum-White-Matter",
    8: "Left-Cerebellum-Cortex",
    10: "Left-Thalamus",
    11: "Left-Caudate",
    12: "Left-Putamen",
    13: "Left-Pallidum",
    14: "3rd-Ventricle",
    15: "4th-Ventricle",
    16: "Brain-Stem",
    17: "Left-Hippocampus",
    18: "Left-Amygdala",
    24: "CSF",
    26: "Left-Accumbens-area",
    28: "Left-VentralDC",
    30: "Left-vessel",
    31: "Left-choroid-plexus",
    41: "Right-Cerebral-White-Matter",
    42: "Right-Cerebral-Cortex",
    43: "Right-Lateral-Ventricle",
    44: "Right-Inf-Lat-Vent",
    46: "Right-Cerebellum-White-Matter",
    47: "Right-Cerebellum-Cortex",
    49: "Right-Thalamus",
    50: "Right-Caudate",
    51: "Right-Putamen",
    52: "Right-Pallidum",
    53: "Right-Hippocampus",
    54: "Right-Amygdala",
    58: "Right-Accumbens-area",
    60: "Right-VentralDC",
    62: "Right-vessel",
    63: "Right-choroid-plexus",
    77: "WM-hypointensities",
    80: "non-WM-hypointensities",
    85: "Optic-Chiasm",
    251: "CC_Posterior",
    252: "CC_Mid_Posterior",
    253: "CC_Central",
    254: "CC_Mid_Anterior",
    255: "CC_Anterior",
}
"""FreeSurfer's numbers of aseg, whose images have no table beside them."""


def read_labels(path: str | Path, most: int) -> tuple[Volume, dict[int, str]]:
    """Return an image of labels, int32, and the name of each label in it.

    Names are those of the `.tsv` beside it (`index`, `name`). Without a table those of FreeSurfer are used
    where the file's name has `aseg`, else `label 7`.
    Raises InputError where the voxels are not whole numbers from 0 on, or there are more than `most` labels.
    """
    path = Path(path)
    labels = Volume.load(path, "label")
    values = np.unique(labels.array)
    if not np.array_equal(values, np.rint(values)) or len(values) > most or values.min() < 0:
        raise InputError(
            f"{path} is not an image of labels (it has {len(values)} values); give whole numbers from 0 on"
        )
    named = names_beside(path) or (FREESURFER if "aseg" in path.name else {})
    names = {int(value): named.get(int(value), f"label {int(value)}") for value in values if value}
    return labels.like(np.rint(labels.array).astype(np.int32)), names


def names_beside(path: Path) -> dict[int, str]:
    """Return the names by label in the table of an image, as BIDS has it (``index``, ``name``); {} without.

    It lies beside the image, or further up in a BIDS dataset, with some of the image's entities.
    Raises InputError where there is a table without these columns.
    """
    table = _table_of(path)
    if table is None:
        return {}
    rows = read_tsv(table, "the BIDS specification of dseg.tsv").rows
    try:
        return {int(row["index"]): row["name"] for _, row in rows}
    except (KeyError, ValueError):
        raise InputError(f"{table} names no regions; give it the columns index (a number) and name") from None


def _table_of(path: Path) -> Path | None:
    """Return the table of labels beside an image, else the nearest one that it inherits."""
    own = _beside(path)
    if own.exists():
        return own
    entities = entities_of(path)
    folders = list(path.absolute().parents)
    top = next((i for i, folder in enumerate(folders) if folder.name == f"sub-{entities.get('sub')}"), -2)
    for folder in folders[: top + 2]:
        for table in sorted(folder.glob("*dseg.tsv"), key=lambda table: -len(entities_of(table))):
            if entities_of(table).items() <= entities.items():
                return table
    return None


def _beside(path: str | Path) -> Path:
    path = Path(path)
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")


def write_names(names: Mapping[int, str], image: str | Path) -> None:
    """Write the table of labels beside their image."""
    lines = ["index\tname", *(f"{label}\t{name}" for label, name in names.items())]
    write_text(_beside(image), "\n".join(lines) + "\n")


def majority(labels: Volume, grid: Volume, matrix: np.ndarray | None = None) -> np.ndarray:
    """Return labels on the voxels of `grid` (X, Y, Z): the one that most samples of a voxel have.

    A voxel has as many samples along each axis as voxels of the labels fit into it, `MOST_SAMPLES` at most;
    one sample is the nearest neighbour. Of equally frequent labels the lowest is taken. `matrix` maps the
    world of `grid` to that of `labels`, RAS+ mm.
    """
    if matrix is None and labels.same_grid(grid):
        return labels.array
    lookup = np.linalg.inv(labels.affine) @ (np.eye(4) if matrix is None else matrix) @ grid.affine
    number = np.clip(np.rint(np.linalg.norm(lookup[:3, :3], axis=0)).astype(int), 1, MOST_SAMPLES)
    offsets = [(np.arange(n) + 0.5) / n - 0.5 for n in number]
    out = np.empty(grid.shape, labels.array.dtype)
    for z in range(grid.shape[2]):  # a slice at a time: memory does not grow with the number of samples
        samples = np.array(
            [
                _slice(labels, grid, matrix, (dx, dy, z + dz))
                for dx in offsets[0]
                for dy in offsets[1]
                for dz in offsets[2]
            ]
        )
        out[..., z] = samples[0]
        mixed = (samples != samples[0]).any(axis=0)
        if mixed.any():
            values, inverse = np.unique(samples[:, mixed], return_inverse=True)
            inverse = inverse.reshape(len(samples), -1)
            counts = np.array([(inverse == index).sum(axis=0) for index in range(len(values))])
            out[..., z][mixed] = values[counts.argmax(axis=0)]
    return out


def _slice(
    labels: Volume, grid: Volume, matrix: np.ndarray | None, place: tuple[float, float, float]
) -> np.ndarray:
    """Return the nearest labels (X, Y) of one slice of a grid, whose first voxel is at `place` in it."""
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, :3] @ np.array(place)
    plane = Volume(np.broadcast_to(np.float32(0), (*grid.shape[:2], 1)), affine, "label")
    return resample(labels, plane, matrix, order=0).array[..., 0]

"""The page of one denoised scan, from images in memory or from files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from csrd.align.labels import read_labels
from csrd.errors import InputError, MissingExtra
from csrd.extras import require
from csrd.io.bids import inherited
from csrd.io.files import read_json, refuse_locked, sha256, write_text
from csrd.io.frames import read_frames
from csrd.io.images import Image, read_mr, read_pet
from csrd.io.tables import read_tsv
from csrd.io.volume import NOTES_KEY, Volume
from csrd.kinetics.tables import read_tacs, sidecar_of_table
from csrd.methods.base import MODEL_FILE
from csrd.pretrained import KEYS, packaged
from csrd.report.kinetics import kinetics_part
from csrd.report.scan import Regions, Scan, scan_page
from csrd.resample import resample
from csrd.virtual.atlas import atlas

SEED = 2024  # of the atlas's registration
SUFFIX = ".html"
MOST_REGIONS = 200
"""Labels beyond this number are not regions but an image."""


def page(
    low: str | Path,
    image: str | Path,
    page: str | Path,
    *,
    std: str | Path | None = None,
    mr: str | Path | None = None,
    labels: str | Path | None = None,
    reference: str | Path | None = None,
    units: str | None = None,
    virtual: bool = False,
    viewer: bool = True,
    curves: Sequence[str | Path] = (),
    bindings: Sequence[str | Path] = (),
) -> None:
    """Write the page of a scan that was denoised before, from its files.

    `image` and `std` are what `csrd.denoise` wrote for `low`, with their sidecar, and `mr` the MR given to
    it. `labels` are regions on the grid of the PET or the MR, and those of a `virtual` head have its
    regions' names; without them the packaged atlas is used. `reference` is the normal dose, where there
    is one; the `viewer` needs the volumes in the page. Of a dynamic scan the mean over its frames is shown,
    and `curves` and `bindings`, its tables before and after, where they are given.
    Raises InputError where an image cannot be used or is on another grid.
    """
    check_page(page)
    facts = inherited(image)
    pet, remark = _opened(low, units or facts.get("Units"))
    unit = pet.volume.unit or pet.sidecar.get("Units")
    after, _ = _opened(image, unit)
    if remark:  # the deviation of a mean over frames is not known
        facts, std = facts | {NOTES_KEY: [*facts.get(NOTES_KEY, []), remark]}, None
    optional = {
        name: None if path is None else Volume.load(path, unit)
        for name, path in (("std", std), ("reference", reference))
    }
    anatomy = None if mr is None else read_mr(mr)
    shown: dict[str, Any] = {**optional, "labels": labels, "virtual": virtual, "viewer": viewer}
    if curves and bindings:
        shown["kinetics"] = _kinetics(curves, bindings)
    write_text(page, scan_page_of(pet, after.volume, anatomy, facts, **shown))


def _kinetics(curves: Sequence[str | Path], bindings: Sequence[str | Path]) -> str:
    """Return the part of the page about curves and BP_ND, from the tables before and after."""
    before, after = map(read_tacs, curves)
    tables = [
        {row["name"]: row for _, row in read_tsv(path, "what csrd kinetics writes").rows} for path in bindings
    ]
    facts = read_json(sidecar_of_table(bindings[0]))
    return kinetics_part(before, after, tables, facts["Reference"], facts["Model"])


def _opened(path: str | Path, units: str | None) -> tuple[Image, str]:
    """Return a scan as one image, and a remark where it is the mean over the frames of a dynamic one."""
    frames = read_frames(path, units)
    if frames is None:
        return read_pet(path, units), ""
    volume = frames.mean(range(frames.count), frames.weights)
    remark = f"{Path(path).name} is dynamic: this page shows the mean of its {frames.count} frames"
    return Image(volume, frames.name, frames.sidecar, frames.path), remark


def check_page(page: str | Path) -> None:
    """Raise InputError where the page cannot be written."""
    if not str(page).endswith(SUFFIX):
        raise InputError(f"the report is {page}; name it with {SUFFIX}")
    refuse_locked(page)


def scan_page_of(
    pet: Image,
    after: Volume,
    mr: Image | None,
    facts: Mapping[str, Any],
    *,
    std: Volume | None = None,
    reference: Volume | None = None,
    labels: str | Path | None = None,
    virtual: bool = False,
    viewer: bool = True,
    kinetics: str = "",
) -> str:
    """Return the page of a denoised scan; the parameters are those of `page`."""
    unit = pet.volume.unit or after.unit or str(pet.sidecar.get("Units", ""))
    matrix = facts.get("RegistrationMatrix")
    to_mr = None if matrix is None else np.array(matrix)
    anatomy = None if mr is None else resample(mr.volume, pet.volume, to_mr, order=3)
    regions, without = None, ""
    if labels is not None:
        regions = _given(Path(labels), pet.volume, None if mr is None else mr.volume, to_mr)
        if virtual:
            regions = replace(regions, names=atlas().regions, source="The regions are the simulation's.")
    else:
        regions, without = _of_atlas(after if anatomy is None else anatomy, anatomy is not None)
    scan = Scan(
        title=Path(pet.name).name,
        before=replace(pet.volume, unit=unit),
        after=replace(after, unit=unit),
        std=std and replace(std, unit=unit),
        mr=anatomy,
        regions=regions,
        no_regions=without,
        reference=reference and replace(reference, unit=unit),
        facts=facts,
        hashes=_hashes(pet, mr),
        packaged=facts.get("ModelSha256") in {sha256(packaged(key) / MODEL_FILE) for key in KEYS},
        kinetics=kinetics,
    )
    return scan_page(scan, viewer)


def _given(path: Path, pet: Volume, mr: Volume | None, to_mr: np.ndarray | None) -> Regions:
    """Return the user's regions on the PET's grid, named by the table beside them where there is one.

    Raises InputError where they are not whole numbers, or too many.
    """
    labels, names = read_labels(path, MOST_REGIONS)
    if not labels.same_grid(pet):
        on_mr = mr is not None and labels.same_grid(mr)
        labels = resample(labels, pet, to_mr if on_mr else None, order=0)
    return Regions(labels.array, names, f"The regions are those of {path.name}.")


def _of_atlas(anatomy: Volume, is_mr: bool) -> tuple[Regions | None, str]:
    """Return the packaged atlas's regions on an MR, or a reason why there are none."""
    if not is_mr:
        return (
            None,
            "There are no regions: the packaged atlas needs an MR. Give your own regions by --labels.",
        )
    from csrd.align.atlas import atlas_labels

    try:
        require("register", "matching the packaged atlas")
        labels = atlas_labels(anatomy, SEED, threads=1)
    except (InputError, MissingExtra) as error:
        return None, f"There are no regions of the packaged atlas: {error}. Give your own by --labels."
    source = (
        "The regions are the packaged atlas's (ICBM152, Desikan-Killiany), matched to the MR by a "
        "deformable registration: their borders are off by millimetres. Give your own regions by --labels."
    )
    return Regions(labels, atlas().regions, source), ""


def _hashes(pet: Image, mr: Image | None) -> dict[str, str]:
    """Return the SHA-256 of the inputs that are single files, by name."""
    read = [scan.path for scan in (pet, mr) if scan is not None and scan.path is not None]
    return {path.name: sha256(path) for path in read if path.is_file()}

"""A subject of the user's at the door: every file is opened and checked before anything is computed."""

from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.files import inherited, sidecar_path, whole_file, write_json
from csrd.io.volume import Volume
from csrd.listmode import InterfileHeader, open_listmode
from csrd.listmode.interfile import header_path
from csrd.scanner.geometry import Scanner
from csrd.scanner.normalisation import read_efficiencies
from csrd.units import pet_unit

SUM_TOLERANCE = 2.0  # noise moves a low dose's sum by a few percent, a forgotten dose factor by 4 or more
MU_LIMIT = 0.5  # 1/cm; bone has 0.17, so more is no μ-map at 511 keV in 1/cm
MU_HEAD = 0.05  # 1/cm; water has 0.096, so a map that stays below it is in 1/mm or empty


def link_listmode(source: Path, header: Path | None, target: Path) -> None:
    """Make `target` a link to the list-mode file, and copy its header beside it, where it has one.

    Raises InputError where they are no list-mode.
    """
    if header is not None:
        content = InterfileHeader.read(header).encode()
        with whole_file(header_path(target)) as temporary:
            temporary.write_bytes(content)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source.absolute())
    open_listmode(target)


def bring_mumap(source: Path, target: Path) -> None:
    """Write the user's μ-map as `target`, in 1/cm.

    Raises InputError where its values cannot be attenuation at 511 keV in 1/cm.
    """
    mumap = Volume.load(source, unit="1/cm")
    low, high = float(mumap.array.min()), float(mumap.array.max())
    if low < 0 or not MU_HEAD < high < MU_LIMIT:
        raise InputError(f"{source} has values from {low:g} to {high:g}; convert it to 1/cm, 0.096 in water")
    mumap.save(target)


def bring_t1w(source: Path, target: Path) -> None:
    """Write the user's T1w image as `target`.

    Raises InputError where it is not one finite 3D image that shows something.
    """
    t1w = Volume.load(source, unit="arbitrary")
    if np.ptp(t1w.array) == 0:
        raise InputError(f"{source} is {t1w.array.flat[0]:g} everywhere; give the T1w image of the head")
    t1w.save(target)


def bring_images(
    normal: Path | None, lows: dict[int, Path], targets: dict[int, Path], unit: str | None
) -> None:
    """Write the user's images of the normal dose (1) and low ones into `targets`, in Bq/mL or SUV.

    Sidecars keep what the user's say; `unit` is that of images whose sidecar does not name one. Voxels below
    zero stay. Raises InputError for an image without uptake, in an unknown unit, or of a low dose that is not
    scaled to the normal one.
    """
    images = ({} if normal is None else {1: normal}) | lows
    volumes = {drf: _pet(path, unit) for drf, path in images.items()}
    for drf in lows if normal is not None else ():
        share = float(volumes[drf].array.sum(dtype=float) / volumes[1].array.sum(dtype=float))
        if not 1 / SUM_TOLERANCE < share < SUM_TOLERANCE:
            raise InputError(
                f"{lows[drf]} sums to {share:.2g} of {normal}; scale low doses to the normal one, "
                "by their dose reduction factor once"
            )
    for drf, volume in volumes.items():
        volume.save(targets[drf])
        said = inherited(images[drf]) | ({"Units": volume.unit} if volume.unit else {})
        write_json(sidecar_path(targets[drf]), {**said, "DoseReductionFactor": drf})


def _pet(path: Path, unit: str | None) -> Volume:
    """Return a PET image in Bq/mL or SUV, or as it is where its unit is not known."""
    named = inherited(path).get("Units", unit)
    volume = Volume.load(path)
    if not volume.array.sum(dtype=float) > 0:
        raise InputError(f"{path} has no uptake: its voxels sum to zero or less; give the PET image there")
    if named is None:
        return volume
    known, factor = pet_unit(str(named))
    return volume.like(volume.array * np.float32(factor), known)


def bring_normalisation(source: Path | None, target: Path, scanner: Scanner) -> None:
    """Write the user's crystal efficiencies as `target`; without `source` the scan's own, or all 1.

    Raises InputError where they are not one number of at least 0 for each crystal of the scanner.
    """
    efficiencies = read_efficiencies(source, scanner)
    with whole_file(target) as temporary:
        np.save(temporary, efficiencies)

"""The normal dose of a measured scan beside the vendor's reconstruction of it."""

from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.bids import inherited
from csrd.io.mumap import bed_mm
from csrd.io.tables import write_records
from csrd.io.volume import Volume
from csrd.listmode import open_listmode
from csrd.metrics.agreement import AXES, compare
from csrd.resample import resample
from csrd.units import pet_unit


def compare_vendor(
    pet: str | Path,
    vendor: str | Path,
    table: str | Path,
    *,
    subject: str,
    listmode: str | Path | None = None,
) -> list[str]:
    """Write the means of both images in cubes of the head; return the faults that their agreement shows.

    The vendor's image is in the patient's coordinates, and is moved by the bed position of the `listmode`.
    Raises InputError where the images have no head in common.
    """
    ours, theirs = Volume.load(pet).canonical(), vendor_image(vendor, listmode)
    found = resample(theirs, ours)
    try:
        cubes, agreement = compare(ours.array, found.array, ours.affine)
    except AssertionError:
        raise InputError(
            f"{vendor} and {pet} have hardly any head in common; check that they are of one scan"
        ) from None
    rows = [
        {
            "subject": subject,
            "drf": 1,
            "method": "normal",
            "x_mm": cube.centre[0],
            "y_mm": cube.centre[1],
            "z_mm": cube.centre[2],
            "volume_ml": cube.volume_ml,
            "ours": cube.ours,
            "vendor": cube.theirs,
            "ratio": agreement.ratio,
            "background": agreement.background,
            "spread": agreement.spread,
            "background_error": agreement.background_error,
            "exchanged": ", ".join(AXES[axis] for axis in agreement.turned) or "none",
        }
        for cube in cubes
    ]
    write_records(rows, table)
    return agreement.faults


def vendor_image(path: str | Path, listmode: str | Path | None = None) -> Volume:
    """Return the vendor's image in Bq/mL in scanner coordinates."""
    volume = Volume.load(path)
    unit, factor = pet_unit(str(inherited(path).get("Units", "Bq/mL")))
    if unit != "Bq/mL":
        raise InputError(f"{path} is in {unit}; give the vendor's image in Bq/mL")
    affine = volume.affine.copy()
    affine[2, 3] -= bed_mm(open_listmode(listmode).header) if listmode else 0.0
    return Volume((volume.array * np.float32(factor)).astype(np.float32), affine, "Bq/mL").canonical()

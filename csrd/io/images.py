"""The user's images, NIfTI or DICOM series, with the facts in their sidecars or headers."""

from dataclasses import dataclass, field
from pathlib import Path

from csrd.errors import InputError, naming
from csrd.io.bids import inherited
from csrd.io.dicom import Series, read_series
from csrd.io.nifti import refuse_dicom_file
from csrd.io.volume import Volume
from csrd.units import agreed_unit, pet_unit

NOT_PET = ("arbitrary", "label", "mask", "1/cm")  # units of the MR, of labels, masks and μ-maps


@dataclass(frozen=True)
class Image:
    """A volume with its name for messages, its sidecar, and the file, folder or series that it is from."""

    volume: Volume
    name: str
    sidecar: dict = field(default_factory=dict)
    path: Path | None = None
    series: Series | None = None


def read_pet(path: str | Path, units: str | None = None, allow_incomplete: bool = False) -> Image:
    """Return a PET image in a NIfTI file or a folder of DICOM; `units` is the unit that the user gave.

    Raises InputError where it cannot be read, is not PET by its unit, or is in an unknown unit, and where
    header, sidecar and `units` contradict one another.
    """
    path = Path(path)
    check_units(units)
    if path.is_dir():
        series = read_series(path, units, allow_incomplete)
        image = Image(series.volume, str(path), series.facts, path, series)
    else:
        refuse_dicom_file(path)
        volume, sidecar = Volume.load(path), inherited(path)
        unit = pet_sidecar_unit(path, volume, sidecar, units)
        image = Image(volume, str(path), sidecar | ({"Units": unit} if unit else {}), path)
    refuse_pet(image.volume, path)
    return image


def check_units(units: str | None) -> None:
    """Raise InputError where the unit that the user gave is not one of PET."""
    if units is not None:
        with naming("--units"):
            pet_unit(units)


def pet_sidecar_unit(path: Path, volume: Volume, sidecar: dict, units: str | None) -> str | None:
    """Return the unit of a PET image by its header, its sidecar and the user, None where none names one.

    Raises InputError where they contradict one another, or it is not a unit of PET.
    """
    with naming(path):
        unit = agreed_unit({"header": volume.unit, "sidecar": sidecar.get("Units"), "--units": units})
        if unit and volume.unit not in NOT_PET:
            pet_unit(unit)
    return unit


def read_mr(path: str | Path) -> Image:
    """Return an MR image in a NIfTI file or a folder of DICOM.

    Raises InputError where it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return Image(Volume.load(path, unit="arbitrary"), str(path), path=path)
    series = read_series(path)
    if series.volume.unit != "arbitrary":
        raise InputError(f"{path} is not an MR (its modality is PT); give the folder of the T1w image")
    return Image(series.volume, str(path), path=path, series=series)


def refuse_pet(pet: Volume, name: str | Path) -> None:
    """Raise InputError where a volume's unit is not one of PET."""
    if pet.unit in NOT_PET:
        raise InputError(f"{name} is not a PET image (its unit is {pet.unit}); give the low-dose image there")

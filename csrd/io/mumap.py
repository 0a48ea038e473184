"""μ-maps: NIfTI or DICOM, their unit recognised, moved from the patient's to the scanner's coordinates."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from csrd.errors import InputError, notice
from csrd.io.bids import inherited
from csrd.io.dicom import read_series
from csrd.io.nifti import refuse_dicom_file
from csrd.io.volume import Volume

MU_HEAD = 0.05  # 1/cm; water has 0.096, so a head's map that stays below it is in 1/mm or empty
MU_LIMIT = 0.5  # 1/cm; bone has 0.17, so larger values are not attenuation at 511 keV in 1/cm
STORED = 1e4  # scale of Siemens' UMAP series: 1/cm times 10,000
BED = "start horizontal bed position (mm)"


def read_mumap(path: str | Path, header: Mapping[str, str] | None = None) -> Volume:
    """Return a μ-map in 1/cm in scanner coordinates, from a NIfTI file or a folder of DICOM.

    Values of Siemens' UMAP series, 1/cm times 10,000, are recognised by their size. A DICOM series, and a
    NIfTI file that dcm2niix made from one, are in the patient's coordinates: with the list-mode's `header`
    they are moved by its bed position, as NiftyPET/NIPET does.
    Raises InputError for values below 0, such as Hounsfield units, or in no known unit.
    """
    volume, of_patient = _read(Path(path))
    volume = _in_1_per_cm(volume, path)
    return _in_scanner(volume, path, header) if of_patient and header is not None else volume


def bed_mm(header: Mapping[str, str]) -> float:
    """Return how far the scanner's centre lies towards the head from the patient's origin, in mm."""
    text = header.get(BED, "0") or "0"
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) < 5000:
        raise InputError(f"the list-mode's header has {BED!r} := {text!r}; give millimetres")
    return value


def refuse_other_than_head(volume: Volume, path: str | Path) -> None:
    """Raise InputError for a μ-map that is too weak or too strong for a head."""
    high = float(volume.array.max())
    if not MU_HEAD < high < MU_LIMIT:
        low = float(volume.array.min())
        raise InputError(f"{path} has values from {low:g} to {high:g}; convert it to 1/cm, 0.096 in water")


def _read(path: Path) -> tuple[Volume, bool]:
    """Return the map as stored, and whether it is in the patient's coordinates."""
    if path.is_dir():
        series = read_series(path)
        if series.volume.unit != "arbitrary":
            raise InputError(f"{path} is a PET series; give the folder of the μ-map's series")
        return series.volume, True
    refuse_dicom_file(path)
    sidecar = inherited(path)
    converted = "dcm2niix" in str(sidecar.get("ConversionSoftware", ""))
    return Volume.load(path, unit=None if converted else "1/cm"), converted


def _in_1_per_cm(volume: Volume, path: str | Path) -> Volume:
    """Return the map in 1/cm; raise InputError where its values are in no known unit."""
    low, high = float(volume.array.min()), float(volume.array.max())
    if low < 0:
        raise InputError(
            f"{path} has values from {low:g} to {high:g}, as Hounsfield units have; convert it to 1/cm, "
            "0.096 in water"
        )
    if MU_HEAD * STORED < high < MU_LIMIT * STORED:
        text = f"{path} has values up to {high:g}: they are taken as 1/cm times 10,000"
        array = (volume.array / STORED).astype(np.float32)
        return replace(volume, array=array, unit="1/cm", notes=(*volume.notes, notice(text)))
    return replace(volume, unit="1/cm")


def _in_scanner(volume: Volume, path: str | Path, header: Mapping[str, str]) -> Volume:
    """Return a map in the patient's coordinates moved by the bed position."""
    affine, bed, notes = volume.affine.copy(), bed_mm(header), volume.notes
    affine[2, 3] -= bed
    if bed:
        notes = (
            *notes,
            notice(f"{path} is in the patient's coordinates: it is moved by the bed's {bed:g} mm"),
        )
    return replace(volume, affine=affine, notes=notes)

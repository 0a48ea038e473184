"""The files of one scan, and what every engine needs from them."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from csrd.config.sections import Recon
from csrd.errors import InputError
from csrd.io.files import header_beside
from csrd.io.mumap import read_mumap
from csrd.io.scatter import read_scatter
from csrd.io.volume import Volume
from csrd.listmode import ListMode, open_listmode
from csrd.listmode.thin import drf_of
from csrd.recon import embedded
from csrd.recon import sensitivity as library
from csrd.recon.scatter import table_shape
from csrd.resample import resample
from csrd.scanner.geometry import Scanner
from csrd.scanner.petsird import scanner_of_scan
from csrd.stages.import_ import efficiencies_of, normalised_scanner

HARDWARE_MM = np.array([560.0, 560.0, 260.0])  # of a μ-map of coil and table: to the crystals of the mMR


@dataclass(frozen=True)
class ScanFiles:
    """The files of one scan; what an engine does not need may be None.

    `normalisation` holds crystal efficiencies (C,) for the embedded engine, or is the mMR's own, or a file in
    the command's format. `sensitivity` is the subject's, computed from the other files where it is None. With
    `attenuation` False attenuation in the body is not corrected for. `scatter` is the file that
    `estimate_scatter` wrote from the normal dose.
    """

    listmode: Path
    header: Path | None = None
    mumap: Path | None = None
    normalisation: Path | None = None
    sensitivity: Path | None = None
    attenuation: bool = True
    scatter: Path | None = None

    @classmethod
    def given(
        cls, listmode: str | Path, *, attenuation: bool = True, **files: str | Path | None
    ) -> "ScanFiles":
        """Return the files of a scan as a user names them; an empty name is no file."""
        paths = {key: Path(file) if file else None for key, file in files.items()}
        return cls(Path(listmode), attenuation=attenuation, **paths)


def loaded(
    files: ScanFiles, recon: Recon, drf: float | None, seed: int, subject: str
) -> tuple[ListMode, float, tuple[Volume, np.ndarray, Volume, Scanner], Volume | None, dict]:
    """Return list-mode, dose, (μ-map, efficiencies, sensitivity, scanner), the μ-map as read, and notes.

    The notes are those on the normalisation. Raises InputError where a file is missing or unusable.
    """
    listmode = open_listmode(files.listmode)
    drf = dose_of(drf, listmode)
    embedded.check_header(listmode, drf)  # before the sensitivity, which takes a minute
    refuse_no_mumap(files)
    scanner, applied = normalised_scanner(
        scanner_of_scan(listmode), files.normalisation, recon.mmr_norm, listmode
    )
    efficiencies = efficiencies_of(files.normalisation, scanner)
    body = read_mumap(files.mumap, listmode.header) if files.mumap and files.attenuation else None
    if files.sensitivity is not None:
        grid = Volume.load(files.sensitivity)
    else:
        grid = _as_saved(library.geometric_sensitivity(scanner, recon.matrix, recon.voxel_mm))
        attenuating = mumap_on(grid, body, recon.hardware)
        of_subject = attenuating, efficiencies, recon.subject_lines, seed, subject, recon.device
        grid = _as_saved(library.subject_sensitivity(scanner, grid, *of_subject))
    return listmode, drf, (mumap_on(grid, body, recon.hardware), efficiencies, grid, scanner), body, applied


def refuse_no_mumap(files: ScanFiles) -> None:
    """Raise InputError where attenuation is to be corrected for without a μ-map."""
    if files.attenuation and files.mumap is None:
        raise InputError(
            "the embedded engine corrects for attenuation; give a μ-map (1/cm), or say --no-attenuation"
        )


def given_scatter(files: ScanFiles, recon: Recon, scanner: Scanner) -> np.ndarray | None:
    """Return the table of the normal dose's scatter, where there is a file of it.

    Raises InputError where the settings have no scatter correction, or the file does not suit the scanner.
    """
    if files.scatter is None:
        return None
    if not recon.estimates_scatter:
        raise InputError(f"recon.scatter is none, but {files.scatter} is given; set it to once")
    return read_scatter(files.scatter, table_shape(scanner), scanner.name)


def header_of(given: Path, data: Path) -> Path | None:
    """Return the header of list-mode data, given the path of the header or of the data; None without one."""
    return header_beside(data) or (given if given != data else None)


def dose_of(drf: float | None, listmode: ListMode) -> float:
    """Return the given dose reduction factor, else the header's; a whole number as int."""
    drf = float(drf or drf_of(listmode))
    return int(drf) if drf.is_integer() else drf


def mumap_on(grid: Volume, body: Volume | None, hardware: str | Path | None = None) -> Volume:
    """Return the μ-map in 1/cm on a grid; without one 0 everywhere.

    With `hardware`, a map of coil and table in scanner coordinates, the grid is extended to the crystals.
    """
    if body is None:
        return grid.like(np.zeros(grid.shape, np.float32), "1/cm")
    if hardware is None:
        return resample(body, grid)
    wide = _widened(grid)
    found = resample(body, wide).array + resample(read_mumap(hardware), wide).array
    return wide.like(found.astype(np.float32), "1/cm")


def _widened(grid: Volume) -> Volume:
    """Return a grid of the same voxels that is `HARDWARE_MM` wide, or as wide as before, at its centre."""
    voxels = np.maximum(grid.shape, 2 * np.ceil(HARDWARE_MM / 2 / grid.voxel_mm).astype(int))
    voxels += (voxels - grid.shape) % 2  # so that the voxels stay where they are
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ ((voxels - grid.shape) // 2)
    return Volume(np.zeros(voxels, np.float32), affine, "1/cm")


def _as_saved(volume: Volume) -> Volume:
    """Return a volume as it is read back from a file, so that results equal those of separate stages."""
    with TemporaryDirectory(prefix="csrd-") as folder:
        volume.save(Path(folder, "volume.nii.gz"))
        return Volume.load(Path(folder, "volume.nii.gz"))

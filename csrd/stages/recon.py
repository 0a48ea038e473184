"""Reconstruction of one scan, by the embedded engine with its sensitivities or by an outside command."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from csrd.config.sections import PLACEHOLDERS, MmrNorm, Recon
from csrd.errors import InputError
from csrd.io.bids import inherited, save_with_sidecar
from csrd.io.files import header_beside, refuse_locked
from csrd.io.mumap import read_mumap
from csrd.io.scatter import read_scatter, write_scatter
from csrd.io.volume import NOTES_KEY, Volume
from csrd.listmode import ListMode, SiemensListMode, open_listmode
from csrd.listmode.thin import drf_of
from csrd.process import numba_threads
from csrd.recon import embedded
from csrd.recon import sensitivity as library
from csrd.recon.scatter import table_shape
from csrd.resample import resample
from csrd.scanner.geometry import Scanner, mmr
from csrd.scanner.petsird import scanner_in, scanner_of_scan
from csrd.stages.command import run_command_engine
from csrd.stages.import_ import efficiencies_of, normalised_scanner

SUFFIXES = (".nii.gz", ".nii")
DEFAULT_NORM = MmrNorm()
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


def geometric_sensitivity(
    sensitivity: str | Path,
    *,
    shape: Sequence[int],
    voxel_mm: float,
    threads: int,
    listmode: str | Path | None = None,
) -> None:
    """Write the sensitivity of a scanner without a subject in it, in mm³ (see `csrd.recon.sensitivity`).

    The scanner is that of the `listmode` file; without a file, the HRRT.
    """
    with numba_threads(threads):
        found = library.geometric_sensitivity(scanner_in(listmode), tuple(shape), voxel_mm)
    found.save(sensitivity)


def subject_sensitivity(
    geometric: str | Path,
    mumap: str | Path,
    normalisation: str | Path,
    sensitivity: str | Path,
    *,
    lines: int,
    seed: int,
    subject: str,
    threads: int,
    listmode: str | Path | None = None,
    mmr_norm: MmrNorm = DEFAULT_NORM,
    hardware: str | Path | None = None,
) -> None:
    """Write the sensitivity with the subject in the scanner, in mm³, on the grid of `geometric`.

    `hardware` is a μ-map of coil and table in scanner coordinates.
    """
    scanner, grid = scanner_in(listmode), Volume.load(geometric)
    scan = open_listmode(listmode) if listmode else None
    scanner, _ = normalised_scanner(scanner, normalisation, mmr_norm, scan)
    efficiencies = efficiencies_of(normalisation, scanner)
    body = read_mumap(mumap, None if scan is None else scan.header)
    arrays = grid, _mumap_on(grid, body, hardware), efficiencies
    with numba_threads(threads):
        found = library.subject_sensitivity(scanner, *arrays, lines, seed, subject)
    found.save(sensitivity)


def reconstruct(
    listmode: str | Path,
    pet: str | Path,
    *,
    recon: Recon,
    seed: int,
    subject: str,
    threads: int,
    log: str | Path,
    drf: float | None = None,
    header: str | Path | None = None,
    mumap: str | Path | None = None,
    normalisation: str | Path | None = None,
    sensitivity: str | Path | None = None,
    attenuation: bool = True,
    scatter: str | Path | None = None,
) -> None:
    """Write the image of one scan, in Bq/mL and scaled to the normal dose, and its sidecar.

    The parameters are those of `ScanFiles` and of `image_of`.
    """
    scan = ScanFiles(
        Path(listmode),
        given_path(header),
        given_path(mumap),
        given_path(normalisation),
        given_path(sensitivity),
        attenuation,
        given_path(scatter),
    )
    if not str(pet).endswith(SUFFIXES):
        raise InputError(f"the output is {pet}; name it with {' or '.join(SUFFIXES)}")
    refuse_locked(pet)
    image, sidecar = image_of(scan, recon, drf, seed, subject, threads, log)
    save_with_sidecar(image, pet, sidecar)


def estimate_scatter(
    listmode: str | Path,
    scatter: str | Path,
    *,
    mumap: str | Path,
    recon: Recon,
    seed: int,
    subject: str,
    threads: int,
    drf: float | None = None,
    normalisation: str | Path | None = None,
    sensitivity: str | Path | None = None,
) -> dict[str, float]:
    """Write the scatter of one scan, scaled to the normal dose, for `reconstruct`; return its fraction.

    The parameters are those of `ScanFiles` and of `image_of`.
    """
    files = ScanFiles(
        Path(listmode),
        mumap=Path(mumap),
        normalisation=given_path(normalisation),
        sensitivity=given_path(sensitivity),
    )
    with numba_threads(threads):
        opened, dose, arrays, _, _ = _loaded(files, recon, drf, seed, subject)
        table, fraction = embedded.estimated_scatter(opened, *arrays, recon, dose, seed, subject)
    write_scatter(table, scatter)
    return {"scatter_fraction": round(fraction, 4)}


def image_of(
    files: ScanFiles,
    recon: Recon,
    drf: float | None,
    seed: int,
    subject: str,
    threads: int,
    log: str | Path,
) -> tuple[Volume, dict]:
    """Return the image, scaled for `drf` exactly once, and its sidecar, by the engine of the settings.

    `drf` is the header's where it is None. `log` takes what an outside command prints. Raises InputError
    where a file is missing or unusable, or where the command fails.
    """
    if recon.engine == "embedded":
        return embedded_image(files, recon, drf, seed, subject, threads)
    listmode = open_listmode(files.listmode)
    if isinstance(listmode, SiemensListMode):
        raise InputError(
            f"{files.listmode} is half of a Siemens pair, which no command reads; write it as .l first: "
            f"csrd thin {files.listmode} scan.l --drf 1"
        )
    drf = _dose(drf, listmode)
    inputs = {name: path for name, path in asdict(files).items() if name in PLACEHOLDERS}
    inputs |= {"listmode": listmode.path, "header": files.header or _header(files.listmode, listmode.path)}
    command = recon.command
    assert command is not None, "recon.engine command has its command"
    pet = run_command_engine(command, inputs, recon.matrix, recon.voxel_mm, drf, threads, Path(log))
    scaled = "the command" if command.scales_dose == "engine" else "CSR-D, once, after the command"
    return pet, {
        "Units": "Bq/mL",
        "ReconMethodName": command.run,
        "DoseReductionFactor": drf,
        "DoseScaling": f"scaled to the normal dose by {scaled}",
        **pet.sidecar_notes,
    }


def embedded_image(
    files: ScanFiles, recon: Recon, drf: float | None, seed: int, subject: str, threads: int
) -> tuple[Volume, dict]:
    """Return the image of `image_of` by the embedded engine, and its sidecar."""
    with numba_threads(threads):
        return _embedded(files, recon, drf, seed, subject)


def _embedded(
    files: ScanFiles, recon: Recon, drf: float | None, seed: int, subject: str
) -> tuple[Volume, dict]:
    listmode, drf, arrays, body, applied = _loaded(files, recon, drf, seed, subject)
    scanner, table = arrays[-1], None
    if files.scatter is not None:
        if not recon.estimates_scatter:
            raise InputError(f"recon.scatter is none, but {files.scatter} is given; set it to once")
        table = read_scatter(files.scatter, table_shape(scanner), scanner.name)
    pet, sidecar = embedded.reconstruct(listmode, *arrays, recon, drf, seed, subject, scatter_table=table)
    if body is not None and (notes := [*_noted_before(files.mumap), *body.notes]):
        sidecar[NOTES_KEY] = [*notes, *sidecar.get(NOTES_KEY, ())]
    if files.attenuation and scanner.name == mmr().name:
        sidecar["AttenuationCorrection"] = _attenuation(recon.hardware)
    elif not files.attenuation:
        sidecar["AttenuationCorrection"] = "none: no μ-map, so the middle of the body is too low"
    if applied:
        sidecar["NormalisationCorrection"] = "components of the mMR's own normalisation"
        sidecar |= applied
    elif files.normalisation is None and scanner.efficiencies is not None:
        lines = "" if scanner.measured_factors is None else " and of pairs of modules"
        sidecar["NormalisationCorrection"] = f"efficiencies of crystals{lines} in the list-mode file"
    elif files.normalisation is None:
        sidecar["NormalisationCorrection"] = "none: all crystals taken as perfect, so the scale is relative"
    return pet, sidecar


def _loaded(
    files: ScanFiles, recon: Recon, drf: float | None, seed: int, subject: str
) -> tuple[ListMode, float, tuple[Volume, np.ndarray, Volume, Scanner], Volume | None, dict]:
    """Return list-mode, dose, (μ-map, efficiencies, sensitivity, scanner), the μ-map as read, and notes.

    The notes are those on the normalisation.
    """
    listmode = open_listmode(files.listmode)
    drf = _dose(drf, listmode)
    embedded.check_header(listmode, drf)  # before the sensitivity, which takes a minute
    if files.attenuation and files.mumap is None:
        raise InputError(
            "the embedded engine corrects for attenuation; give a μ-map (1/cm), or say --no-attenuation"
        )
    scanner, applied = normalised_scanner(
        scanner_of_scan(listmode), files.normalisation, recon.mmr_norm, listmode
    )
    efficiencies = efficiencies_of(files.normalisation, scanner)
    body = read_mumap(files.mumap, listmode.header) if files.mumap and files.attenuation else None
    if files.sensitivity is not None:
        grid = Volume.load(files.sensitivity)
    else:
        grid = _as_saved(library.geometric_sensitivity(scanner, recon.matrix, recon.voxel_mm))
        attenuating = _mumap_on(grid, body, recon.hardware)
        of_subject = attenuating, efficiencies, recon.subject_lines, seed, subject
        grid = _as_saved(library.subject_sensitivity(scanner, grid, *of_subject))
    return listmode, drf, (_mumap_on(grid, body, recon.hardware), efficiencies, grid, scanner), body, applied


def _attenuation(hardware: str | None) -> str:
    """Return what the attenuation of an mMR's scan was corrected for."""
    if hardware is None:
        return "μ-map of the body; not of coil and table, without which the image is some 10 % too low"
    return f"μ-maps of the body, and of coil and table ({Path(hardware).name})"


def given_path(file: str | Path | None) -> Path | None:
    """Return the path of an optional file."""
    return Path(file) if file else None


def _header(given: Path, data: Path) -> Path | None:
    """Return the header of list-mode data, given the path of the header or of the data; None without one."""
    return header_beside(data) or (given if given != data else None)


def _dose(drf: float | None, listmode: ListMode) -> float:
    """Return the given dose reduction factor, else the header's; a whole number as int."""
    drf = float(drf or drf_of(listmode))
    return int(drf) if drf.is_integer() else drf


def _mumap_on(grid: Volume, body: Volume | None, hardware: str | Path | None = None) -> Volume:
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


def _noted_before(path: Path | None) -> Sequence[str]:
    """Return the assumptions about what an image was made from, in its sidecar."""
    return inherited(path).get(NOTES_KEY, ()) if path else ()


def _as_saved(volume: Volume) -> Volume:
    """Return a volume as it is read back from a file, so that results equal those of separate stages."""
    with TemporaryDirectory(prefix="csrd-") as folder:
        volume.save(Path(folder, "volume.nii.gz"))
        return Volume.load(Path(folder, "volume.nii.gz"))

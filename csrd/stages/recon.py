"""Reconstruction of one scan, by the embedded engine with its sensitivities or by an outside command."""

from collections.abc import Sequence
from pathlib import Path

from csrd.config.sections import MmrNorm, Recon
from csrd.errors import InputError
from csrd.io.bids import inherited, save_with_sidecar, sidecar_path
from csrd.io.files import refuse_locked, write_json
from csrd.io.mumap import read_mumap
from csrd.io.scatter import write_scatter
from csrd.io.volume import NOTES_KEY, Volume, writing_frames
from csrd.listmode import open_listmode
from csrd.listmode.frame import refuse_longer
from csrd.process import numba_threads
from csrd.recon import dynamic, embedded
from csrd.recon import sensitivity as library
from csrd.scanner.geometry import Scanner, mmr
from csrd.scanner.petsird import scanner_in
from csrd.stages.import_ import efficiencies_of, normalised_scanner
from csrd.stages.outside import outside_image
from csrd.stages.scan import ScanFiles, given_scatter, loaded, mumap_on

SUFFIXES = (".nii.gz", ".nii")
DEFAULT_NORM = MmrNorm()


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
    device: str = "auto",
) -> None:
    """Write the sensitivity with the subject in the scanner, in mm³, on the grid of `geometric`.

    `hardware` is a μ-map of coil and table in scanner coordinates, `device` that of the settings.
    """
    scanner, grid = scanner_in(listmode), Volume.load(geometric)
    scan = open_listmode(listmode) if listmode else None
    scanner, _ = normalised_scanner(scanner, normalisation, mmr_norm, scan)
    efficiencies = efficiencies_of(normalisation, scanner)
    body = read_mumap(mumap, None if scan is None else scan.header)
    arrays = grid, mumap_on(grid, body, hardware), efficiencies
    with numba_threads(threads):
        found = library.subject_sensitivity(scanner, *arrays, lines, seed, subject, device)
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
    _refuse_target(pet)
    files = {"header": header, "mumap": mumap, "normalisation": normalisation, "sensitivity": sensitivity}
    scan = ScanFiles.given(listmode, attenuation=attenuation, scatter=scatter, **files)
    image, sidecar = image_of(scan, recon, drf, seed, subject, threads, log)
    save_with_sidecar(image, pet, sidecar)


def reconstruct_frames(
    listmode: str | Path,
    pet: str | Path,
    *,
    recon: Recon,
    seed: int,
    subject: str,
    threads: int,
    drf: float | None = None,
    mumap: str | Path | None = None,
    normalisation: str | Path | None = None,
    sensitivity: str | Path | None = None,
    attenuation: bool = True,
    scatter: str | Path | None = None,
) -> None:
    """Write one 4D image of the frames in the settings, as `reconstruct` its image, and its sidecar.

    Every frame is in Bq/mL at the scan's start, hence corrected for decay. One frame is in memory at a time.
    """
    _refuse_target(pet)
    assert recon.frames is not None, "frames are in the settings"
    files = {"mumap": mumap, "normalisation": normalisation, "sensitivity": sensitivity}
    scan = ScanFiles.given(listmode, attenuation=attenuation, scatter=scatter, **files)
    refuse_longer(open_listmode(listmode), recon.frames)  # before the sensitivity, which takes a minute
    with numba_threads(threads):
        opened, dose, arrays, body, applied = loaded(scan, recon, drf, seed, subject)
        table = given_scatter(scan, recon, arrays[-1])
        frames = dynamic.reconstruct_frames(opened, *arrays, recon, dose, seed, subject, table)
        grid, step = arrays[2].like(arrays[2].array, "Bq/mL"), recon.frames[0]
        sidecars = []
        with writing_frames(pet, grid, len(recon.frames), step) as append:
            for image, sidecar in frames:
                append(image.array)
                sidecars.append(sidecar)
    said = dynamic.of_all_frames(sidecars)
    write_json(sidecar_path(pet), _described(said, scan, recon, arrays[-1], body, applied))


def _refuse_target(pet: str | Path) -> None:
    """Raise InputError where an image cannot be written there."""
    if not str(pet).endswith(SUFFIXES):
        raise InputError(f"the output is {pet}; name it with {' or '.join(SUFFIXES)}")
    refuse_locked(pet)


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
    given = {"mumap": mumap, "normalisation": normalisation, "sensitivity": sensitivity}
    files = ScanFiles.given(listmode, attenuation=True, **given)
    with numba_threads(threads):
        opened, dose, arrays, _, _ = loaded(files, recon, drf, seed, subject)
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
    return outside_image(files, recon, drf, seed, subject, threads, log)


def embedded_image(
    files: ScanFiles, recon: Recon, drf: float | None, seed: int, subject: str, threads: int
) -> tuple[Volume, dict]:
    """Return the image of `image_of` by the embedded engine, and its sidecar."""
    with numba_threads(threads):
        return _embedded(files, recon, drf, seed, subject)


def _embedded(
    files: ScanFiles, recon: Recon, drf: float | None, seed: int, subject: str
) -> tuple[Volume, dict]:
    listmode, drf, arrays, body, applied = loaded(files, recon, drf, seed, subject)
    scanner = arrays[-1]
    table = given_scatter(files, recon, scanner)
    pet, sidecar = embedded.reconstruct(listmode, *arrays, recon, drf, seed, subject, scatter_table=table)
    return pet, _described(sidecar, files, recon, scanner, body, applied)


def _described(
    sidecar: dict, files: ScanFiles, recon: Recon, scanner: Scanner, body: Volume | None, applied: dict
) -> dict:
    """Return an image's sidecar with what was said of its μ-map, and its corrections by the files."""
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
    return sidecar


def _attenuation(hardware: str | None) -> str:
    """Return what the attenuation of an mMR's scan was corrected for."""
    if hardware is None:
        return "μ-map of the body; not of coil and table, without which the image is some 10 % too low"
    return f"μ-maps of the body, and of coil and table ({Path(hardware).name})"


def _noted_before(path: Path | None) -> Sequence[str]:
    """Return the assumptions about what an image was made from, in its sidecar."""
    return inherited(path).get(NOTES_KEY, ()) if path else ()

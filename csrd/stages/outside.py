"""Reconstruction of one scan by an outside command: what it is given, and the check of its image."""

from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from csrd.config.sections import FILE_PLACEHOLDERS, Command, Recon
from csrd.engines.check import check_image, quick_recon
from csrd.engines.child import unwound_by_signals
from csrd.errors import InputError, notice
from csrd.io.mumap import read_mumap
from csrd.io.normalisation import is_norm
from csrd.io.volume import Volume
from csrd.listmode import SiemensListMode, open_listmode
from csrd.process import numba_threads
from csrd.scanner.petsird import scanner_of_scan
from csrd.stages.command import run_command_engine
from csrd.stages.export import export_scan, file_of
from csrd.stages.import_ import efficiencies_of, normalised_scanner
from csrd.stages.scan import ScanFiles, dose_of, given_scatter, header_of, mumap_on


def outside_image(
    files: ScanFiles,
    recon: Recon,
    drf: float | None,
    seed: int,
    subject: str,
    threads: int,
    log: str | Path,
) -> tuple[Volume, dict]:
    """Return the image by the command of the settings, scaled to the normal dose once, and its sidecar.

    Raises InputError where a file is missing or unusable, where the command fails, or where its image does
    not agree with a quick one by the embedded engine.
    """
    command = recon.command
    assert command is not None, "recon.engine command has its command"
    listmode = open_listmode(files.listmode)
    if isinstance(listmode, SiemensListMode) and command.export is None:
        raise InputError(
            f"{files.listmode} is half of a Siemens pair, which no command reads; write it as .l first: "
            f"csrd thin {files.listmode} scan.l --drf 1"
        )
    drf = dose_of(drf, listmode)
    inputs = {name: path for name, path in asdict(files).items() if name in FILE_PLACEHOLDERS}
    inputs |= {"listmode": listmode.path, "header": files.header or header_of(files.listmode, listmode.path)}
    about = recon, drf, seed, subject, threads

    def export(folder: Path) -> None:
        assert command.export is not None, "called where something is exported"
        export_scan(command.export, files, folder / file_of(command.export), *about)

    prepare = export if command.export else None
    with unwound_by_signals():
        pet = run_command_engine(command, recon, inputs, drf, threads, Path(log), prepare)
        checked = checked_image(pet, files, command, *about) if command.check else {}
    scaled = "the command" if command.scales_dose == "engine" else "CSR-D, once, after the command"
    calibration = {} if command.calibration is None else {"EngineCalibrationFactor": command.calibration}
    return pet, {
        "Units": "Bq/mL",
        "EngineUnits": command.unit,
        **calibration,
        "ReconMethodName": command.run,
        "DoseReductionFactor": drf,
        "DoseScaling": f"scaled to the normal dose by {scaled}",
        **checked,
        **pet.sidecar_notes,
    }


def checked_image(
    pet: Volume,
    files: ScanFiles,
    command: Command,
    recon: Recon,
    drf: float,
    seed: int,
    subject: str,
    threads: int,
) -> dict:
    """Return the sidecar's entry on the comparison of an image with a quick one by the embedded engine.

    Where the scan's timing or scanner is not known, that says why there is none. Orientation alone is checked
    where the μ-map or the normalisation is in a format of the command, or its unit is relative.
    """
    ours = command.export is not None
    mumap = files.mumap if files.attenuation and (ours or _is_nifti(files.mumap)) else None
    known = ours or _is_npy(files.normalisation) or is_norm(files.normalisation)
    normalisation = files.normalisation if known else None
    calibrated = command.unit != "relative" or command.calibration is not None
    calibrated &= ours or (mumap is not None and normalisation is not None)
    field_mm = recon.voxel_mm * np.array(recon.matrix)
    with numba_threads(threads), ExitStack() as stack:
        try:
            listmode = open_listmode(files.listmode)
            plain = scanner_of_scan(listmode)
            scanner, _ = normalised_scanner(plain, normalisation, recon.mmr_norm, listmode)
            body = read_mumap(mumap, listmode.header) if mumap else None
            table = given_scatter(files, recon, scanner) if ours else None
            attenuating = None if body is None else partial(mumap_on, body=body, hardware=recon.hardware)
            arrays = attenuating, efficiencies_of(normalisation, scanner), table
            like = field_mm, recon.scatter, updates_of(command, recon)
            scan = quick_recon(listmode, scanner, *arrays, *like, drf, seed, subject)
            quick = stack.enter_context(scan)
            reference = quick.image()
        except InputError as error:
            return {"EngineCheck": notice(f"the command's image was not checked: {error}")}
        return {"EngineCheck": check_image(pet, quick, reference, calibrated)}


def updates_of(command: Command, recon: Recon) -> int | None:
    """Return the number of updates of a command's image; None where the settings do not determine it."""
    given = all(name in command.run for name in ("{iterations}", "{subsets}"))
    return recon.iterations * recon.subsets if given else None


def _is_nifti(path: Path | None) -> bool:
    return path is not None and path.name.endswith((".nii", ".nii.gz"))


def _is_npy(path: Path | None) -> bool:
    return path is not None and path.suffix == ".npy"

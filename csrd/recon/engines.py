"""One interface to both engines: a scan's files in, an image in Bq/mL at the normal dose's scale out."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numba
import numpy as np

from csrd.config.sections import PLACEHOLDERS, Recon
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode
from csrd.recon import embedded
from csrd.recon.command import run_command_engine
from csrd.recon.sensitivity import geometric_sensitivity, subject_sensitivity
from csrd.resample import resample
from csrd.scanner.normalisation import read_efficiencies
from csrd.scanner.petsird import scanner_of_scan


@dataclass(frozen=True)
class ScanFiles:
    """The files of one scan; what an engine does not need may be None.

    `normalisation` holds crystal efficiencies (C,) for the embedded engine and whatever the command
    takes for the other; `sensitivity` is the subject's, computed from the rest where it is None.
    `attenuation` False says that the body's attenuation is left uncorrected, on purpose.
    """

    listmode: Path
    header: Path | None = None
    mumap: Path | None = None
    normalisation: Path | None = None
    sensitivity: Path | None = None
    attenuation: bool = True


def reconstruct(
    files: ScanFiles, recon: Recon, drf: int, seed: int, subject: str, threads: int, log: Path
) -> tuple[Volume, dict]:
    """Return the image, scaled for `drf` exactly once, and its sidecar, by the engine of the settings.

    `log` takes what an outside command prints. Raises InputError where a file is missing or unusable,
    or where the command fails.
    """
    if recon.engine == "command":
        inputs = {name: path for name, path in asdict(files).items() if name in PLACEHOLDERS}
        pet = run_command_engine(recon.command, inputs, recon.matrix, recon.voxel_mm, drf, threads, log)
        return pet, _command_sidecar(recon, drf)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    return _embedded(files, recon, drf, seed, subject)


def _embedded(files: ScanFiles, recon: Recon, drf: int, seed: int, subject: str) -> tuple[Volume, dict]:
    listmode = open_listmode(files.listmode)
    scanner = scanner_of_scan(listmode)
    embedded.check_drf(listmode, drf)  # before a minute goes into sensitivities
    efficiencies = read_efficiencies(files.normalisation, scanner)
    mumap = _mumap(files, recon)
    if files.sensitivity is None:
        geometric = geometric_sensitivity(scanner, recon.matrix, recon.voxel_mm)
        mumap = resample(mumap, geometric)
        lines = recon.subject_lines
        sensitivity = subject_sensitivity(scanner, geometric, mumap, efficiencies, lines, seed, subject)
    else:
        sensitivity = Volume.load(files.sensitivity)
        mumap = resample(mumap, sensitivity)
    pet, sidecar = embedded.reconstruct(
        files.listmode, mumap, efficiencies, sensitivity, scanner, recon, drf, seed, subject
    )
    if not files.attenuation:
        sidecar["AttenuationCorrection"] = "none: no μ-map, so the middle of the body is too low"
    if files.normalisation is None and scanner.efficiencies is not None:
        lines = "" if scanner.measured_factors is None else " and of pairs of modules"
        sidecar["NormalisationCorrection"] = f"efficiencies of crystals{lines} in the list-mode file"
    elif files.normalisation is None:
        sidecar["NormalisationCorrection"] = "none: all crystals taken as perfect, so the scale is relative"
    return pet, sidecar


def _mumap(files: ScanFiles, recon: Recon) -> Volume:
    """Return the μ-map in 1/cm; where attenuation is left uncorrected, one of 0."""
    if files.attenuation and files.mumap is None:
        raise InputError(
            "the embedded engine corrects for attenuation; give a μ-map (1/cm), or say --no-attenuation"
        )
    if files.attenuation:
        return Volume.load(files.mumap, unit="1/cm")
    nothing = np.zeros(recon.matrix, np.float32)
    return Volume(nothing, centred_affine(recon.matrix, recon.voxel_mm), "1/cm")


def _command_sidecar(recon: Recon, drf: int) -> dict:
    scaled = "the command" if recon.command.scales_dose == "engine" else "CSR-D, once, after the command"
    return {
        "Units": "Bq/mL",
        "ReconMethodName": recon.command.run,
        "DoseReductionFactor": drf,
        "DoseScaling": f"scaled to the normal dose by {scaled}",
    }

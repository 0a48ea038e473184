"""Both engines behind one function: files in, an image in Bq/mL and its sidecar out."""

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np

from csrd.config import Recon
from csrd.errors import InputError
from csrd.listmode.interfile import header_path
from csrd.recon import embedded
from csrd.recon.command import run_command_engine
from csrd.recon.corrections import on_grid
from csrd.recon.sensitivity import geometric_sensitivity, subject_sensitivity
from csrd.scanner.geometry import Scanner, hrrt
from csrd.volume import Volume


@dataclass(frozen=True)
class ScanFiles:
    """What a scan is reconstructed from; None for what there is not, or (sensitivity) not yet."""

    listmode: Path
    mumap: Path | None = None
    normalisation: Path | None = None
    header: Path | None = None
    sensitivity: Path | None = None


def reconstruct(
    scan: ScanFiles, recon: Recon, *, drf: int, seed: int, subject: str, threads: int, log: Path
) -> tuple[Volume, dict]:
    """Return the image in Bq/mL, scaled to the normal dose, and its sidecar, by `recon.engine`.

    An outside command's output goes to `log`. Raises InputError for inputs that the engine cannot use.
    """
    if recon.engine == "command":
        return _by_command(scan, recon, drf, threads, log)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    return _embedded(scan, recon, drf, seed, subject)


def _embedded(scan: ScanFiles, recon: Recon, drf: int, seed: int, subject: str) -> tuple[Volume, dict]:
    if scan.mumap is None:
        raise InputError(f"{scan.listmode} comes without a μ-map; the embedded reconstruction needs one")
    scanner, mumap = hrrt(), Volume.load(scan.mumap, unit="1/cm")
    efficiencies = _efficiencies(scan.normalisation, scanner)
    if scan.sensitivity is None:
        geometric = geometric_sensitivity(scanner, recon.matrix, recon.voxel_mm)
        on_geometric = on_grid(mumap, geometric)
        lines = recon.subject_lines
        sensitivity = subject_sensitivity(
            scanner, geometric, on_geometric, efficiencies, lines, seed, subject
        )
    else:
        sensitivity = Volume.load(scan.sensitivity)
    mumap = on_grid(mumap, sensitivity)
    return embedded.reconstruct(
        scan.listmode, mumap, efficiencies, sensitivity, scanner, recon, drf, seed, subject
    )


def _efficiencies(path: Path | None, scanner: Scanner) -> np.ndarray:
    """Return the crystals' efficiencies (C,), all 1 without a file."""
    if path is None:
        return np.ones(scanner.crystals, dtype=np.float32)
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no readable .npy file ({error}); write it with numpy.save") from None
    if values.shape != (scanner.crystals,):
        raise InputError(
            f"{path} has shape {values.shape}; write one number for each of {scanner.crystals} crystals"
        )
    return values


def _by_command(scan: ScanFiles, recon: Recon, drf: int, threads: int, log: Path) -> tuple[Volume, dict]:
    inputs = {
        "listmode": scan.listmode,
        "header": scan.header or header_path(scan.listmode),
        "mumap": scan.mumap,
        "normalisation": scan.normalisation,
    }
    volume = run_command_engine(recon.command, inputs, recon.matrix, recon.voxel_mm, drf, threads, log)
    sidecar = {
        "Units": "Bq/mL",
        "ReconMethodName": "outside command",
        "ReconCommand": recon.command.run,
        "DoseReductionFactor": drf,
        "DoseScaling": f"by {recon.command.scales_dose}, so the image has the normal dose's mean",
    }
    return volume, sidecar

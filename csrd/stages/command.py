"""Reconstruction by an outside command, and validation of its image.

The template is first split into words, then its placeholders are replaced, without a shell: a path with
spaces stays one word, and no file name is run as code. A command that needs a pipe must be a script.
"""

import shlex
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from csrd.config.sections import Command, Recon
from csrd.engines.child import run_program
from csrd.errors import InputError, naming, notice
from csrd.io.bids import inherited
from csrd.io.interfile_image import affine_of, read_interfile
from csrd.io.volume import Volume
from csrd.units import FWHM_PER_SIGMA, agreed_unit, pet_unit

RELATIVE = (
    "the command's images are uncalibrated (recon.command.unit: relative): values named Bq/mL are relative"
)
UNTESTED = (
    "this preset is untested: as it is, it was never run with its program "
    "(recon.command.untested; docs/recon-hooks.md)"
)
TAIL_LINES = 3
ENDED = "$ ended after"  # the log's line after what the command printed
GRID_SHIFT = 0.02  # voxels by which an image's centre may be off the scanner's


def run_command_engine(
    command: Command,
    recon: Recon,
    inputs: Mapping[str, Path | None],
    drf: float,
    threads: int,
    log: Path,
    export: Callable[[Path], None] | None = None,
) -> Volume:
    """Return the image that the command wrote, in Bq/mL and scaled to the normal dose, with its notes.

    `inputs` holds the paths of listmode, header, mumap and normalisation, None where a subject has none.
    `export` writes events and model into a folder, which goes with the command's temporary files.
    Raises InputError, ending in the log's last lines, where the command cannot be run, fails, exceeds its
    time limit, or does not write a finite image on the expected grid.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if command.untested:
        notice(UNTESTED)
    with tempfile.TemporaryDirectory(prefix="csrd-recon-") as folder:
        output, exported = Path(folder) / f"pet{command.output_suffix}", Path(folder) / "export"
        values = {**inputs, **_settings(recon), "drf": drf, "threads": threads}
        words = fill_in(command.run, {**values, "export": exported, "output": output})
        if export is not None:
            exported.mkdir()
            export(exported)
        with open(log, "ab") as stream:
            start = stream.tell()
            stream.write(f"$ {shlex.join(words)}\n".encode())
            stream.flush()
            begin = time.monotonic()
            failure = _run(words, stream, command.time_limit_min * 60, Path(folder))
            stream.write(f"{ENDED} {time.monotonic() - begin:.1f} s\n".encode())
        try:
            if failure:
                raise InputError(failure)
            volume = _read(output, command)
            _check(volume, recon.matrix, recon.voxel_mm)
            notes = tuple(note.replace(str(output), f"the image of {words[0]}") for note in volume.notes)
        except InputError as error:
            message = str(error).replace(str(output), f"the image of {words[0]}")
            raise InputError(f"{message}; the last lines of {log}: {_tail(log, start)}") from None
    scale = np.float32(drf) if command.scales_dose == "csrd" else np.float32(1)
    return replace(volume, array=volume.array * scale, notes=notes)


def _settings(recon: Recon) -> dict[str, str]:
    """Return the reconstruction's settings that a command may ask for, as text.

    Engines model the resolution by one Gaussian: that is the core of `recon.psf`.
    """
    psf_fwhm_mm = recon.psf.sigma_mm * FWHM_PER_SIGMA if recon.psf else 0
    return {
        "iterations": str(recon.iterations),
        "subsets": str(recon.subsets),
        "psf_fwhm_mm": f"{psf_fwhm_mm:.6g}",
        "matrix": ",".join(map(str, recon.matrix)),
        "voxel_mm": f"{recon.voxel_mm:.9g}",
    }


def fill_in(template: str, values: Mapping[str, Path | float | str | None]) -> list[str]:
    """Return the template's words with {placeholders} replaced; paths are made absolute.

    Raises InputError for a placeholder whose value the subject lacks.
    """
    texts = {
        name: str(value.absolute() if isinstance(value, Path) else value) for name, value in values.items()
    }
    words = shlex.split(template)
    for name, value in values.items():
        if value is None and f"{{{name}}}" in template:
            raise InputError(
                f"recon.command.run has {{{name}}}, but this subject has none; add it to the sheet"
            )
    return [word.format_map(texts) for word in words]


def _run(words: list[str], stream, limit_s: float, folder: Path) -> str | None:
    """Run the command with its output in `stream`; return the error as a sentence, or None."""
    try:
        status = run_program(words, stream, limit_s, folder)
    except OSError as error:
        return f"recon.command.run cannot start {words[0]} ({error.strerror}); check its path and permissions"
    if status is None:
        return f"{words[0]} was ended after {limit_s / 60:g} minutes; raise recon.command.time_limit_min"
    return f"{words[0]} ended with exit status {status}" if status else None


def _read(path: Path, command: Command) -> Volume:
    """Return the image in NIfTI or Interfile, by the suffix, converted to Bq/mL.

    Raises InputError where its header or sidecar names another unit than the settings.
    """
    if not path.exists():
        raise InputError(f"{path} was not written; check where the command puts {{output}}")
    if path.name.endswith((".nii", ".nii.gz")):
        volume = Volume.load(path)
        if command.nifti_axes is not None:
            affine = affine_of(volume.shape, volume.voxel_mm, command.nifti_axes)
            volume = replace(volume, affine=affine)
    else:
        volume = read_interfile(path, command.interfile_axes)
    named = {"header": volume.unit, "sidecar": inherited(path).get("Units")}
    if command.unit == "relative":
        if any(named.values()):
            raise InputError(f"{path} names its unit; set recon.command.unit to it in place of relative")
        if command.calibration is not None:
            return volume.like(volume.array * np.float32(command.calibration), "Bq/mL")
        return replace(volume, unit="Bq/mL", notes=(*volume.notes, notice(RELATIVE)))
    with naming(path):
        unit, factor = pet_unit(agreed_unit({**named, "recon.command.unit": command.unit}) or command.unit)
    return volume.like(volume.array * np.float32(factor), unit)


def _check(volume: Volume, shape: tuple[int, int, int], voxel_mm: float) -> None:
    """Raise InputError unless the image is on the expected grid, around the scanner's centre, and not 0."""
    if volume.shape != tuple(shape):
        raise InputError(
            f"the command's image has shape {volume.shape}, but recon.matrix is {tuple(shape)}; "
            "make them equal"
        )
    if not np.allclose(volume.voxel_mm, voxel_mm, rtol=1e-3):
        raise InputError(
            f"the command's image has voxels of {volume.voxel_mm.round(5)} mm, "
            f"but recon.voxel_mm is {voxel_mm:g}; make them equal"
        )
    centre_mm = volume.affine[:3] @ [*(np.asarray(volume.shape) - 1) / 2, 1]
    if np.abs(centre_mm).max() > GRID_SHIFT * voxel_mm:
        raise InputError(
            f"the command's image has its centre at {centre_mm.round(3)} mm, not at the scanner's; "
            "centre its grid there"
        )
    if not volume.array.any():
        raise InputError("the command's image is 0 everywhere; check what it read")


def _tail(log: Path, start: int) -> str:
    """Return the last lines of the log after byte `start`."""
    with open(log, "rb") as stream:
        stream.seek(start)
        lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines()[1:]]
    lines = [line for line in lines if line and not line.startswith(ENDED)]
    return " | ".join(lines[-TAIL_LINES:]) or "(none)"

"""Reconstruction by an outside command, and validation of its image.

The template is first split into words, then its placeholders are replaced, without a shell: a path with
spaces stays one word, and no file name is run as code. A command that needs a pipe must be a script.
"""

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from csrd.config.sections import Command
from csrd.errors import InputError, naming, notice
from csrd.io.bids import inherited
from csrd.io.interfile_image import read_interfile
from csrd.io.volume import Volume
from csrd.units import agreed_unit, pet_unit

RELATIVE = (
    "the command's images are uncalibrated (recon.command.unit: relative): values named Bq/mL are relative"
)
TAIL_LINES = 3
GRACE_S = 5.0


def run_command_engine(
    command: Command,
    inputs: Mapping[str, Path | None],
    expected_shape: tuple[int, int, int],
    expected_voxel_mm: float,
    drf: float,
    threads: int,
    log: Path,
) -> Volume:
    """Return the image that the command wrote, in Bq/mL and scaled to the normal dose, with its notes.

    `inputs` holds the paths of listmode, header, mumap and normalisation, None where a subject has none.
    Raises InputError, ending in the log's last lines, where the command cannot be run, fails, exceeds its
    time limit, or does not write a finite image on the expected grid.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="csrd-recon-") as folder:
        output = Path(folder) / f"pet{command.output_suffix}"
        words = fill_in(command.run, {**inputs, "drf": drf, "threads": threads, "output": output})
        with open(log, "ab") as stream:
            start = stream.tell()
            stream.write(f"$ {shlex.join(words)}\n".encode())
            stream.flush()
            failure = _run(words, stream, command.time_limit_min * 60)
        try:
            if failure:
                raise InputError(failure)
            volume = _read(output, command)
            _check(volume, expected_shape, expected_voxel_mm)
            notes = tuple(note.replace(str(output), f"the image of {words[0]}") for note in volume.notes)
        except InputError as error:
            message = str(error).replace(str(output), f"the image of {words[0]}")
            raise InputError(f"{message}; the last lines of {log}: {_tail(log, start)}") from None
    scale = np.float32(drf) if command.scales_dose == "csrd" else np.float32(1)
    return replace(volume, array=volume.array * scale, notes=notes)


def fill_in(template: str, values: Mapping[str, Path | float | None]) -> list[str]:
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


def _run(words: list[str], stream, limit_s: float) -> str | None:
    """Run the command with its output in `stream`; return the error as a sentence, or None."""
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    except OSError as error:
        return f"recon.command.run cannot start {words[0]} ({error.strerror}); check its path and permissions"
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"{words[0]} was ended after {limit_s / 60:g} minutes; raise recon.command.time_limit_min"
    finally:
        _end(process)
    return f"{words[0]} ended with exit status {status}" if status else None


def _end(process: subprocess.Popen) -> None:
    """End the command and all processes that it started."""
    for order in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, order)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)


def _read(path: Path, command: Command) -> Volume:
    """Return the image in NIfTI or Interfile, by the suffix, converted to Bq/mL.

    Raises InputError where its header or sidecar names another unit than the settings.
    """
    if not path.exists():
        raise InputError(f"{path} was not written; check where the command puts {{output}}")
    if path.name.endswith((".nii", ".nii.gz")):
        volume = Volume.load(path)
    else:
        volume = read_interfile(path, command.interfile_axes)
    named = {"header": volume.unit, "sidecar": inherited(path).get("Units")}
    if command.unit == "relative":
        if any(named.values()):
            raise InputError(f"{path} names its unit; set recon.command.unit to it in place of relative")
        return replace(volume, unit="Bq/mL", notes=(*volume.notes, notice(RELATIVE)))
    with naming(path):
        unit, factor = pet_unit(agreed_unit({**named, "recon.command.unit": command.unit}) or command.unit)
    return volume.like(volume.array * np.float32(factor), unit)


def _check(volume: Volume, shape: tuple[int, int, int], voxel_mm: float) -> None:
    """Raise InputError unless the image is on the expected grid and not 0 everywhere."""
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
    if not volume.array.any():
        raise InputError("the command's image is 0 everywhere; check what it read")


def _tail(log: Path, start: int) -> str:
    """Return the last lines of the log after byte `start`."""
    with open(log, "rb") as stream:
        stream.seek(start)
        lines = [
            line.strip() for line in stream.read().decode(errors="replace").splitlines()[1:] if line.strip()
        ]
    return " | ".join(lines[-TAIL_LINES:]) or "(none)"

"""The public functions of `import csrd`: images, volumes or paths in, volumes and numbers out."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csrd.errors import InputError
from csrd.io.bids import subject_of
from csrd.io.volume import Volume
from csrd.stages.denoiser import Denoised, Denoiser
from csrd.stages.opened import Source, opened_frames, opened_mr, opened_pet

if TYPE_CHECKING:
    from csrd.config.sections import Metrics, Recon

SEED = 2024
"""The configuration's default."""


@dataclass(frozen=True)
class Reconstructed:
    """A reconstructed scan.

    Attributes
    ----------
    image : Volume
        Activity at the scan's start in Bq/mL, scaled to the normal dose.
    facts : dict
        The content of its BIDS sidecar.
    """

    image: Volume
    facts: dict


class Model:
    """A fitted method in memory, for any number of scans; see `load_model`."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser

    def denoise(
        self,
        low: Source,
        mr: Source | None = None,
        *,
        drf: float | None = None,
        std: bool = False,
        units: str | None = None,
        allow_incomplete: bool = False,
        static: tuple[float, float] | None = None,
    ) -> Denoised:
        """Return the denoised image of one scan.

        Parameters, return value and exceptions are those of `denoise`.
        """
        pet = opened_pet(low, units, allow_incomplete, static)
        return self._denoiser.of(opened_mr(mr), std).denoise(pet, drf)

    def denoise_frames(
        self,
        low: Sequence[Volume] | str | Path,
        mr: Source | None = None,
        *,
        durations: Sequence[float] | None = None,
        drf: float | None = None,
        std: bool = False,
        units: str | None = None,
        allow_incomplete: bool = False,
    ) -> Iterator[Denoised]:
        """Return an iterator over the denoised frames of a dynamic scan.

        Parameters, return value and exceptions are those of `denoise_frames`.
        """
        frames = opened_frames(low, durations, units, allow_incomplete)
        return self._denoiser.of(opened_mr(mr), std).denoise_frames(frames, drf)


def load_model(
    model: str | Path = "csrd",
    *,
    device: str = "auto",
    product: str | None = None,
    samples: int | None = None,
    steps: int | None = None,
) -> Model:
    """Return a fitted method that is read once and denoises many scans.

    Parameters
    ----------
    model : str or Path
        "csrd" (with MR) or "csrdnomr" (without), the models in the package; else the folder of a fitted
        method.
    device : {"auto", "cpu", "cuda"}
        Where networks run.
    product : {"mean", "sample", "average", "table"}, optional
        What CSR-D returns as the image; "table" by default.
    samples, steps : int, optional
        Number of samples, and of the sampler's steps.

    Returns
    -------
    Model
        With the method ``denoise``.

    Raises
    ------
    InputError
        Where the folder holds no complete model, or the method has no such choice.
    MissingExtra
        Where the method needs packages that are not installed.
    """
    choices = {"product": product, "samples": samples, "steps": steps}
    return Model(Denoiser.load(model, None, True, device, choices))


def denoise(
    low: Source,
    mr: Source | None = None,
    *,
    model: str | Path | None = None,
    drf: float | None = None,
    product: str | None = None,
    samples: int | None = None,
    steps: int | None = None,
    std: bool = False,
    device: str = "auto",
    units: str | None = None,
    allow_incomplete: bool = False,
    static: tuple[float, float] | None = None,
) -> Denoised:
    """Return the denoised image of a low-dose PET scan; `denoise_frames` denoises a dynamic one.

    Parameters
    ----------
    low : Volume, str or Path
        The scan, scaled to the normal dose: a volume (X, Y, Z), a NIfTI file or a folder of DICOM, on any
        grid.
    mr : Volume, str or Path, optional
        The subject's T1w image. On another grid it is registered (extra ``register``) and resampled.
    model : str or Path, optional
        The folder of a fitted method; else the package's CSR-D, with or without MR.
    drf : float, optional
        Dose reduction factor, 4 for a quarter of the dose; else that of the file's sidecar or name, else
        estimated from the noise.
    product, samples, steps
        See `load_model`.
    std : bool
        Whether to predict the standard deviation too.
    device : {"auto", "cpu", "cuda"}
        Where networks run.
    units : {"Bq/mL", "kBq/mL", "SUV"}, optional
        The unit of the PET where its file does not state it.
    allow_incomplete : bool
        Whether to accept a DICOM series with missing slices.
    static : (float, float), optional
        Of a dynamic scan in a file, the window in s after TimeZero: the mean of its frames is denoised.

    Returns
    -------
    Denoised
        ``image`` and ``std`` (or None) on the grid of `low`, in Bq/mL or SUV, and ``facts``, the sidecar.

    Raises
    ------
    InputError
        Where an image, the model or a choice cannot be used.
    MissingExtra
        Where the MR must be registered and the packages for it are not installed.
    """
    choices = {"product": product, "samples": samples, "steps": steps}
    pet, anatomy = opened_pet(low, units, allow_incomplete, static), opened_mr(mr)
    return Denoiser.load(model, anatomy, std, device, choices).denoise(pet, drf)


def denoise_frames(
    low: Sequence[Volume] | str | Path,
    mr: Source | None = None,
    *,
    durations: Sequence[float] | None = None,
    model: str | Path | None = None,
    drf: float | None = None,
    product: str | None = None,
    samples: int | None = None,
    steps: int | None = None,
    std: bool = False,
    device: str = "auto",
    units: str | None = None,
    allow_incomplete: bool = False,
) -> Iterator[Denoised]:
    """Return an iterator over the denoised frames of a dynamic scan, each by its own noise.

    Of a file only one frame is in memory. `csrd.stages.predict.predict` writes the frames to a file.

    Parameters
    ----------
    low : sequence of Volume, str or Path
        The frames on one grid, a 4D NIfTI file, or a folder with a dynamic DICOM series.
    mr : Volume, str or Path, optional
        The subject's T1w image. On another grid it is registered once, to the frames' mean.
    durations : sequence of float, optional
        Of frames in memory, how long each is in s: its weight in that mean. A file's sidecar has them.
    model, drf, product, samples, steps, std, device, units, allow_incomplete
        See `denoise`.

    Yields
    ------
    Denoised
        ``image``, ``std`` (or None) and ``facts`` of a frame. A frame without counts, or with too much noise,
        is passed through: its ``facts`` have no ``Denoising``, and the reason under ``InputNotes``.

    Raises
    ------
    InputError
        Where the scan, the MR, the model or a choice cannot be used; after the last frame where none could be
        denoised.
    MissingExtra
        Where the MR must be registered and the packages for it are not installed.
    """
    choices = {"product": product, "samples": samples, "steps": steps}
    frames, anatomy = opened_frames(low, durations, units, allow_incomplete), opened_mr(mr)
    return Denoiser.load(model, anatomy, std, device, choices).denoise_frames(frames, drf)


def thin(
    source: str | Path,
    target: str | Path,
    drf: float,
    *,
    seed: int = SEED,
    subject: str | None = None,
    nested: bool = False,
) -> dict[str, int]:
    """Write a list-mode file with a fraction of the events, in the same format.

    Parameters
    ----------
    source, target : str or Path
        The list-mode file of the normal dose, and the file to write; its header is written beside it.
    drf : float
        Dose reduction factor: 4 keeps each event with probability 1/4.
    seed : int
        Seed of the random generator, with the subject.
    subject : str, optional
        As ``sub-01``; else the one in the file's name.
    nested : bool
        Whether to keep a subset of the events that a lower `drf` keeps.

    Returns
    -------
    dict
        Numbers of prompts and delayeds, before and after.

    Raises
    ------
    InputError
        Where `source` is not readable list-mode data, or `target` cannot be written.
    """
    from csrd.stages.thin import thin

    return thin(source, target, drf=drf, seed=seed, subject=subject or subject_of(source), nested=nested)


def reconstruct(
    listmode: str | Path,
    *,
    mumap: str | Path | None = None,
    normalisation: str | Path | None = None,
    scatter: str | Path | None = None,
    drf: float | None = None,
    recon: "Recon | None" = None,
    seed: int = SEED,
    subject: str | None = None,
    threads: int | None = None,
) -> Reconstructed:
    """Return the image of one list-mode file by the embedded engine (list-mode OSEM).

    Parameters
    ----------
    listmode : str or Path
        HRRT, Siemens PETLINK or PETSIRD (extra ``petsird``), or its header.
    mumap : str or Path, optional
        μ-map in 1/cm, in scanner coordinates; without one neither attenuation nor scatter is corrected for.
    normalisation : str or Path, optional
        Crystal efficiencies (C,), .npy; else the list-mode file's own, else all 1.
    scatter : str or Path, optional
        The normal dose's scatter, as ``csrd scatter`` wrote it; else it is estimated from these events.
    drf : float, optional
        Dose reduction factor of the events; else the header's.
    recon : csrd.config.sections.Recon, optional
        Matrix, voxel, iterations and filter; the configuration's defaults by default.
    seed : int
        Seed of the random generators, with the subject.
    subject : str, optional
        As ``sub-01``; else the one in the file's name.
    threads : int, optional
        Cores to use; all by default.

    Returns
    -------
    Reconstructed
        ``image`` (X, Y, Z) in Bq/mL at the scan's start, and ``facts``, its sidecar.

    Raises
    ------
    InputError
        Where a file is missing or cannot be used.
    """
    from csrd.config.sections import Recon
    from csrd.stages.recon import embedded_image
    from csrd.stages.scan import ScanFiles

    given = {"mumap": mumap, "normalisation": normalisation, "scatter": scatter}
    files = ScanFiles.given(listmode, attenuation=mumap is not None, **given)
    if recon is not None and recon.frames:
        raise InputError("recon.frames are one 4D image, which is written: use csrd recon, or set it to None")
    name, cores = subject or subject_of(listmode), threads or os.cpu_count() or 1
    return Reconstructed(*embedded_image(files, recon or Recon(), drf, seed, name, cores))


def evaluate(
    image: Volume | str | Path,
    reference: Volume | str | Path,
    mask: Volume | str | Path | None = None,
    *,
    metrics: "Metrics | None" = None,
) -> dict[str, float]:
    """Return the metrics of an image against the normal dose (extra ``metrics``).

    Parameters
    ----------
    image, reference : Volume, str or Path
        The denoised and the normal-dose image, on one grid and in one unit.
    mask : Volume, str or Path, optional
        The head mask on that grid; else it is measured on the reference.
    metrics : csrd.config.sections.Metrics, optional
        Protocol and networks; the configuration's defaults by default.

    Returns
    -------
    dict
        Value by metric. ``mae`` is in the unit of the images.

    Raises
    ------
    InputError
        Where grids or units differ, or an image is empty or not finite.
    MissingExtra
        Where the packages for the metrics are not installed.
    """
    from csrd.align.head import head_mask
    from csrd.config.sections import Metrics
    from csrd.extras import require
    from csrd.metrics.evaluate import metrics_of

    require("metrics", "evaluating an image")
    pet, seen = _volume(reference), _volume(image)
    inside = head_mask(pet) if mask is None else _volume(mask, "mask").array > 0
    bound = metrics_of(pet, inside, metrics or Metrics())
    return {key: metric(seen) for key, metric in bound.items()}


def _volume(image: Volume | str | Path, unit: str | None = None) -> Volume:
    return image if isinstance(image, Volume) else Volume.load(image, unit)

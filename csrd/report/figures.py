"""Figures of one subject: all images side by side, every method's errors, and predicted deviations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csrd.io.volume import Volume, refuse_other_grid
from csrd.methods import in_row_order, label_of
from csrd.report.slices import PLANES, Bar, Row, Scale, View, draw
from csrd.resample import resample

ERROR_PLANES = ("axial", "coronal")
# Perceptually uniform maps: grey for uptake, two hues around zero for errors, one sequence for their size.
UPTAKE, ANATOMY, SIGNED, SIZE = "gray_r", "gray", "coolwarm", "magma"


@dataclass(frozen=True)
class Panel:
    """One column: an image under its title. `kind` "pet" shares the figure's scale, "mr" has its own."""

    title: str
    volume: Volume
    kind: str = "pet"


def comparison(
    normal: Volume,
    lows: Mapping[int, Volume],
    denoised: Mapping[str, Volume],
    drf: int,
    *,
    mr: Volume | None = None,
    truth: Volume | None = None,
) -> list[Panel]:
    """Return the panels of one subject: truth, MR, normal dose, low doses, and every method at dose `drf`.

    `lows` are the low doses by drf, `denoised` the images by method. Truth and MR are optional, on any grid.
    """
    panels = [] if truth is None else [Panel("truth", resample(truth, normal))]
    if mr is not None:
        panels.append(Panel("MR", resample(mr, normal), "mr"))
    panels.append(Panel("normal dose", normal))
    panels += [Panel(f"1/{dose} dose", low) for dose, low in sorted(lows.items())]
    panels += [Panel(_title(method, drf), denoised[method]) for method in in_row_order(list(denoised))]
    return panels


def compare(path: str | Path, panels: list[Panel], reference: Volume, mask: np.ndarray) -> None:
    """Write a PNG with a column per panel and a row per plane, cut to the head `mask` (X, Y, Z).

    The planes pass through the centre of the reference's highest uptake. PET is shown inverted, from 0 to
    the reference's 99.8th percentile in the head, in kBq/mL (or its own unit).
    Raises InputError where a panel is on another grid.
    """
    for panel in panels:
        refuse_other_grid(panel.volume, reference, panel.title, "the reference", "resample it")
    factor, uptake = _uptake(reference, mask)
    images = []
    for panel in panels:
        if panel.kind == "pet":
            images.append((panel.volume.array * factor, uptake))
        else:
            window = float(np.percentile(panel.volume.array[mask], 99.5)) or 1.0
            images.append((panel.volume.array, Scale(ANATOMY, 0, window, panel.volume.unit)))
    rows = [Row(plane, plane, images) for plane in PLANES]
    draw(path, [panel.title for panel in panels], rows, View.of(reference, mask), [Bar(uptake)])


def errors(
    path: str | Path, normal: Volume, head: np.ndarray, images: Mapping[str, Volume], *, drf: int
) -> None:
    """Write a PNG of every method's image at dose `drf` and, below, its error: method − normal dose.

    `head` is the mask (X, Y, Z), `images` are by method. Images have the normal dose's scale. Errors have a
    scale around zero up to the 95th percentile of all methods' |error| in the head; the low dose's are
    larger.
    Raises InputError where an image is on another grid.
    """
    factor, uptake = _uptake(normal, head)
    volumes = {method: images[method] for method in in_row_order(list(images))}
    for method, volume in volumes.items():
        refuse_other_grid(volume, normal, label_of(method), "the normal dose", "resample it")
    maps = [(volume.array - normal.array) * factor for volume in volumes.values()]
    end = float(np.percentile(np.abs([array[head] for array in maps]), 95)) or 1.0
    signed = Scale(SIGNED, -end, end, f"error in {uptake.unit}", cut=True)
    pictures = [(volume.array * factor, uptake) for volume in (normal, *volumes.values())]
    rows = [Row(plane, plane, pictures) for plane in ERROR_PLANES]
    words = ["method\n−\nnormal dose", *[""] * (len(ERROR_PLANES) - 1)]
    for plane, text in zip(ERROR_PLANES, words, strict=True):
        rows.append(Row(plane, f"{plane} error", [text, *((array, signed) for array in maps)]))
    titles = ["normal dose", *(_title(method, drf) for method in volumes)]
    half = len(ERROR_PLANES)
    bars = [Bar(uptake, 0, half - 1), Bar(signed, half)]
    draw(path, titles, rows, View.of(normal, head), bars)


def uncertainty(
    path: str | Path,
    normal: Volume,
    head: np.ndarray,
    images: Mapping[str, Volume],
    stds: Mapping[str, Volume],
    *,
    drf: int,
) -> None:
    """Write a PNG of each method's |method − normal dose| at dose `drf` beside its predicted deviation.

    `images` and `stds` are by method. All maps share one scale from 0 to the 99.5th percentile of them all in
    the `head` mask.
    Raises InputError where an image is on another grid.
    """
    factor, uptake = _uptake(normal, head)
    titles, maps = [], []
    for method in in_row_order(list(images)):
        image, std = images[method], stds[method]
        for volume in (image, std):
            refuse_other_grid(volume, normal, label_of(method), "the normal dose", "resample it")
        name = f"{label_of(method)}, 1/{drf}:\n"
        titles += [f"{name}|error|", f"{name}predicted std"]
        maps += [np.abs(image.array - normal.array) * factor, std.array * factor]
    top = float(np.percentile([array[head] for array in maps], 99.5)) or 1.0
    size = Scale(SIZE, 0, top, uptake.unit, cut=True)
    rows = [Row(plane, plane, [(array, size) for array in maps]) for plane in PLANES]
    draw(path, titles, rows, View.of(normal, head), [Bar(size)])


def _title(method: str, drf: int) -> str:
    return f"{label_of(method)}\n1/{drf} dose"


def _uptake(reference: Volume, mask: np.ndarray) -> tuple[float, Scale]:
    """Return the factor to the unit that is shown, and the scale of PET: to the head's 99.8th percentile."""
    factor, unit = (1e-3, "kBq/mL") if reference.unit == "Bq/mL" else (1.0, reference.unit)
    return factor, Scale(UPTAKE, 0, factor * float(np.percentile(reference.array[mask], 99.8)), unit)

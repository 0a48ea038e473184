"""Images of the control rows: the oracle's blends, and uptake painted into the true labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from csrd.io.bids import sidecar_path
from csrd.io.files import read_json
from csrd.io.volume import Volume
from csrd.metrics.controls import mean_uptake, oracle_weight, uptake_by_label
from csrd.metrics.truth import blurred
from csrd.stages.evaluate import on_grid
from csrd.virtual.regions import REGIONS


def oracle(
    lows: Sequence[str | Path],
    reference: str | Path,
    mask: str | Path,
    truth: str | Path,
    images: Sequence[str | Path],
) -> None:
    """Write for each low dose the blend with the truth that is nearest to the normal dose in the head.

    `truth` is that of `csrd.stages.regions.match_truth`.
    Raises InputError where an image is not on the grid of the normal dose.
    """
    normal = Volume.load(reference)
    inside = on_grid(mask, normal, reference, unit="mask").array > 0
    ideal = on_grid(truth, normal, reference).array
    for path, out in zip(lows, images, strict=True):
        low = on_grid(path, normal, reference).array
        a = np.float32(oracle_weight(low[inside], ideal[inside], normal.array[inside]))
        normal.like(a * low + (1 - a) * ideal).save(out)


def painted(
    activities: Sequence[str | Path],
    labels: Sequence[str | Path],
    own_labels: str | Path,
    reference: str | Path,
    mask: str | Path,
    truth: str | Path,
    image: str | Path,
) -> None:
    """Write the training subjects' mean uptake by region, painted into a test subject's true labels.

    `activities` and `labels` are those of the training subjects. The image has the resolution of the `truth`
    of `match_truth` and the normal dose's mean in the head; nothing else of the PET is used.
    Raises InputError where an image is not on the grid of the normal dose.
    """
    normal = Volume.load(reference)
    inside = on_grid(mask, normal, reference, unit="mask").array > 0
    count = max(REGIONS.values()) + 1
    known = (
        uptake_by_label(Volume.load(path).array, _labels(where).array, count)
        for path, where in zip(activities, labels, strict=True)
    )
    table, own = mean_uptake(known).astype(np.float32), _labels(own_labels)
    fwhm_mm = read_json(sidecar_path(truth))["FWHM_mm"]
    flat = blurred(own.like(table[own.array], "arbitrary"), normal, fwhm_mm)
    scale = normal.array[inside].mean(dtype=np.float64) / flat[inside].mean(dtype=np.float64)
    normal.like(flat * np.float32(scale)).save(image)


def _labels(path: str | Path) -> Volume:
    """Return the simulation's labels as whole numbers."""
    volume = Volume.load(path, unit="label")
    return volume.like(np.rint(volume.array).astype(np.uint8))

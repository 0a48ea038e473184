"""The page of one scan: planes before and after, registration, regions, noise, doubts and provenance."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import ndimage

from csrd.io.volume import NOTES_KEY, Volume, refuse_other_grid
from csrd.methods.learned.scaling import Head, measured_level
from csrd.report import planes
from csrd.report.html import TEMPLATES, fragment, page
from csrd.report.paragraph import paragraph
from csrd.report.planes import Picture, Ramp
from csrd.report.slices import PLANES, View
from csrd.report.uptake import COVERAGE, Uptake, uptake
from csrd.report.viewer import Layer, embedded, library
from csrd.units import FWHM_PER_SIGMA, KBQ_PER_BQ

SMOOTHING_MM = 6.0  # FWHM, of the PET whose contour is drawn on the MR
UPTAKE_LEVEL = 0.6  # of the high uptake, at which the inner contour lies


@dataclass(frozen=True)
class Regions:
    """Labels (X, Y, Z) on the grid of the scan, the regions' names by label, and where they are from."""

    labels: np.ndarray
    names: Mapping[int, str]
    source: str


@dataclass(frozen=True)
class Scan:
    """A denoised scan, all images on one grid and those of PET in one unit.

    `reference` is a better image of the same scan, as `reference_name` says, where there is one; `facts` the
    sidecar of `after`; `hashes` the SHA-256 of the inputs by name; `packaged` marks the models in the
    package. `kinetics` is a fragment of HTML about the curves of a dynamic scan.
    """

    title: str
    before: Volume
    after: Volume
    std: Volume | None = None
    mr: Volume | None = None
    regions: Regions | None = None
    no_regions: str = ""
    reference: Volume | None = None
    reference_name: str = "normal dose"
    facts: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    packaged: bool = False
    kinetics: str = ""


@dataclass(frozen=True)
class Shown:
    """What a page shows: a volume under its name, by a colour scale; `about` explains it in a sentence."""

    key: str
    name: str
    volume: Volume
    ramp: Ramp
    about: str


def scan_page(scan: Scan, viewer: bool = True) -> str:
    """Return the page, which needs no other file; with `viewer` it holds the volumes to be turned too.

    Raises InputError where an image is on another grid.
    """
    for name in ("after", "std", "mr", "reference"):
        image = getattr(scan, name)
        if image is not None:
            refuse_other_grid(image, scan.before, f"the image {name!r}", "the scan", "resample it")
    scan = _upright(scan)
    head = Head.of(scan.before)
    view = View.of(scan.after, head.mask)
    shown = _shown(scan, head.mask)
    rows = [] if scan.regions is None else _uptake(scan, scan.regions)
    body = fragment(
        "scan.html",
        scan=scan,
        method=scan.facts.get("Denoising", ""),
        version=scan.facts.get("Versions", {}).get("csrd", ""),
        notes=scan.facts.get(NOTES_KEY, []),
        cover=scan.facts.get("HeadCoverage"),
        shown=shown,
        planes=[(plane, [_picture(one, view, plane) for one in shown]) for plane in PLANES],
        registration=_registration(scan, head.mask, view) if scan.mr is not None else [],
        numbers=_numbers(scan, head),
        uptake=rows,
        most=max([row.after + (row.half or 0) for row in rows] + [row.before for row in rows], default=1.0),
        coverage=COVERAGE,
        unit=shown[0].ramp.unit,
        paragraph=paragraph(
            scan.facts,
            scan.before,
            with_mr=scan.mr is not None,
            with_std=scan.std is not None,
            packaged=scan.packaged,
        ),
        facts=_facts(scan),
        layers=embedded(_layers(scan, shown), view) if viewer else [],
        library=library() if viewer else "",
        script=(TEMPLATES / "viewer.js").read_text() if viewer else "",
    )
    return page(scan.title, body, "style.css", "scan.css")


def _upright(scan: Scan) -> Scan:
    """Return the scan with axes nearest to right, anterior and superior, and PET in the unit shown."""
    factor, unit = (KBQ_PER_BQ, "kBq/mL") if scan.before.unit == "Bq/mL" else (1.0, scan.before.unit)

    def pet(image: Volume) -> Volume:
        upright = image.canonical()
        return Volume(upright.array * np.float32(factor), upright.affine, unit)

    regions = scan.regions
    if regions is not None:
        regions = replace(regions, labels=scan.before.upright(regions.labels))
    return replace(
        scan,
        before=pet(scan.before),
        after=pet(scan.after),
        std=scan.std and pet(scan.std),
        reference=scan.reference and pet(scan.reference),
        mr=scan.mr and scan.mr.canonical(),
        regions=regions,
    )


def _shown(scan: Scan, mask: np.ndarray) -> list[Shown]:
    """Return the images of the page in its columns' order; before and after share a scale."""
    unit = scan.before.unit
    best = scan.reference or scan.after
    top = max(float(np.percentile(best.array[mask], 99.8)), 1e-6)
    pet = Ramp(planes.UPTAKE, 0.0, top, unit)
    found = [
        Shown("before", "before", scan.before, pet, "The scan as it was given."),
        Shown("after", "after", scan.after, pet, "The denoised image, on the same scale."),
    ]
    if scan.reference is not None:
        name = scan.reference_name
        found.append(Shown("reference", name, scan.reference, pet, f"The {name} of the same scan."))
        error = scan.after.array - scan.reference.array
        words = "error", f"After minus {name}: red too high, blue too low."
    else:
        error = scan.after.array - scan.before.array
        words = (
            "difference",
            "After minus before: what was removed. It should look like noise, without anatomy.",
        )
    end = max(float(np.percentile(np.abs(error[mask]), 99)), 1e-6)
    signed = Ramp(planes.SIGNED, -end, end, unit)
    found.append(Shown("difference", words[0], scan.after.like(error), signed, words[1]))
    if scan.std is not None:
        most = max(float(np.percentile(scan.std.array[mask], 99.5)), 1e-6)
        of = scan.facts.get("StandardDeviationOf", "normal dose")
        about = f"Predicted standard deviation of the {of} around the image after."
        found.append(Shown("std", "standard deviation", scan.std, Ramp(planes.SIZE, 0.0, most, unit), about))
    return found


def _picture(one: Shown, view: View, plane: str) -> tuple[Shown, Picture]:
    return one, planes.picture(one.volume.array, view, plane, one.ramp)


def _registration(scan: Scan, mask: np.ndarray, view: View) -> list[tuple[str, Picture, str, str]]:
    """Return plane, picture of the MR, and SVG paths of the PET's contours: edge of the head, high uptake."""
    assert scan.mr is not None, "only with an MR"
    top = max(float(np.percentile(scan.mr.array[mask], 99.5)), 1e-6)
    anatomy = Ramp(planes.ANATOMY, 0.0, top)
    smooth = ndimage.gaussian_filter(scan.after.array, SMOOTHING_MM / FWHM_PER_SIGMA / scan.after.voxel_mm)
    level = UPTAKE_LEVEL * float(np.percentile(smooth[mask], 95))
    high = np.where(mask, smooth, 0)
    found = []
    for plane in PLANES:
        edge = planes.contour(mask, 0.5, view, plane)
        inner = planes.contour(high, level, view, plane)
        found.append((plane, planes.picture(scan.mr.array, view, plane, anatomy), edge, inner))
    return found


def _uptake(scan: Scan, regions: Regions) -> list[Uptake]:
    return uptake(scan.before, scan.after, scan.std, regions.labels, regions.names)


def _numbers(scan: Scan, head: Head) -> list[tuple[str, str]]:
    """Return the page's first numbers, each with what it is."""
    levels = [
        measured_level(image, Head(head.mask, _mean(image, head))) for image in (scan.before, scan.after)
    ]
    found = [
        (f"{levels[0]:.2f} → {levels[1]:.2f}", "fine detail and noise over the head's mean, before → after")
    ]
    change = _mean(scan.after, head) / _mean(scan.before, head) - 1
    found.append((f"{100 * change:+.1f} %".replace("-", "−"), "change of the mean uptake in the head"))
    if scan.std is not None:
        relative = float(scan.std.array[head.mask].mean()) / _mean(scan.after, head)
        found.append((f"{100 * relative:.0f} %", "mean standard deviation in the head, over the mean uptake"))
    dose, estimated = (scan.facts.get(f"DoseReductionFactor{end}") for end in ("", "Estimated"))
    if dose is not None:
        how = "estimated from the noise" if estimated else "as given"
        found.append((f"1/{dose:.3g}", f"of the normal dose, {how}"))
    else:
        found.append(("not needed", "the dose: this model measures the noise in the image instead"))
    return found


def _mean(image: Volume, head: Head) -> float:
    return max(float(image.array[head.mask].mean()), 1e-9)


def _layers(scan: Scan, shown: list[Shown]) -> list[Layer]:
    """Return the viewer's volumes: those shown, and the MR."""
    layers = [Layer(one.key, one.name, one.volume, one.ramp) for one in shown]
    if scan.mr is not None:
        top = max(float(np.percentile(scan.mr.array, 99.8)), 1e-6)
        layers.append(Layer("mr", "MR", scan.mr, Ramp(planes.ANATOMY, 0.0, top)))
    return layers


def _facts(scan: Scan) -> list[tuple[str, str]]:
    """Return the sidecar's facts as lines, and the inputs' checksums."""
    lines = [(f"SHA-256 of {name}", digest) for name, digest in scan.hashes.items()]
    for key, value in scan.facts.items():
        if key == NOTES_KEY:
            continue
        if isinstance(value, Mapping):
            lines += [(f"{key}: {name}", str(one)) for name, one in value.items()]
        elif isinstance(value, float | int | str):
            lines.append((key, str(value)))
        else:
            lines.append((key, json.dumps(value)))
    return lines

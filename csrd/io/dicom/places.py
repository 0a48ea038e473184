"""Positions of the slices of a series, and whether the series is complete."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from csrd.errors import InputError
from csrd.io.places import GRID_TOLERANCE

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
STRAIGHT = 1e-3  # by how much orientations may differ between slices
UNEVEN = 0.1  # of a voxel: slices further from even positions do not form a grid
TILT = 0.02  # by how much of their distance slices may be shifted against each other
GAP = 1.5  # distances, against the usual one, from which on a slice is missing between two


def placed(
    folder: Path, slices: list[Dataset], allow_incomplete: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the affine to RAS mm of (column, row, slice), the slices' order along their normal, and notes.

    Raises InputError where the slices form no grid, or some are missing.
    """
    along_row, along_column, normal, spacing = _plane(folder, slices)
    places = np.array([header.ImagePositionPatient for header in slices], float)
    order = np.argsort(places @ normal, kind="stable")
    places = places[order]
    if len(slices) > 1:
        origin, across, notes = _line(folder, places, normal, min(spacing))
    else:
        origin, across, notes = places[0], normal * (_thickness(slices[0]) or 1.0), []
    notes += _missing(folder, slices, float(across @ normal), allow_incomplete)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = along_row * spacing[1], along_column * spacing[0], across
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine, order, notes


def _plane(folder: Path, slices: list[Dataset]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the directions of rows and columns, their normal, and the spacing between rows and columns."""
    first = slices[0]
    along = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*along)
    spacing = np.array(first.PixelSpacing, float)
    places = np.array([header.ImagePositionPatient for header in slices], float)
    if not (abs(np.linalg.norm(normal) - 1) < STRAIGHT and spacing.min() > 0 and np.isfinite(places).all()):
        raise InputError(f"{folder} has no usable orientation and spacing of its slices; export it again")
    for header in slices:
        turned = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        same = np.allclose(turned, along, atol=STRAIGHT) and np.allclose(header.PixelSpacing, spacing)
        if not same or (header.Rows, header.Columns) != (first.Rows, first.Columns):
            raise InputError(f"{folder} has slices of different sizes or orientations; give one series only")
    return *along, normal, spacing


def _line(
    folder: Path, places: np.ndarray, normal: np.ndarray, pixel_mm: float
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the first position and the step of even slices, by least squares, and a note on uneven ones."""
    steps = np.diff(places @ normal)
    usual = np.sort(steps)[(len(steps) - 1) // 2]
    if steps.min() <= UNEVEN * usual:
        raise InputError(f"{folder} has two slices at one position; give one time frame only")
    apart = f"they lie {steps.min():g} to {steps.max():g} mm apart"
    if steps.max() >= GAP * usual:
        raise InputError(f"{folder} lacks slices: {apart}; export all of them")
    index = np.arange(len(places)) - len(steps) / 2
    across = index @ places / (index @ index)
    if np.linalg.norm(across - normal * (across @ normal)) > TILT * (across @ normal):
        raise InputError(f"{folder} has slices shifted against each other (a gantry tilt); resample it first")
    even = places.mean(axis=0) + index[:, None] * across
    off_mm = np.linalg.norm(places - even, axis=1).max()
    off = off_mm / min(pixel_mm, across @ normal)
    if off > UNEVEN:
        raise InputError(f"{folder} has slices up to {off_mm:.2g} mm off an even grid ({apart}); resample it")
    if off <= GRID_TOLERANCE:
        return even[0], across, []
    return even[0], across, [f"has slices up to {off_mm:.2g} mm off an even grid: they are taken as even"]


def _missing(folder: Path, slices: list[Dataset], step_mm: float, allow_incomplete: bool) -> list[str]:
    """Return a note where slices are, or may be, missing; raise InputError where this is not allowed."""
    stated = {int(count) for header in slices if (count := header.get("NumberOfSlices"))}
    thick_mm = _thickness(slices[0])
    wrong = []
    if stated and stated != {len(slices)}:
        wrong.append(
            f"has {len(slices)} slices, but its headers say {' and '.join(map(str, sorted(stated)))}"
        )
    if thick_mm and step_mm >= GAP * thick_mm:
        wrong.append(f"has slices {step_mm:g} mm apart, but its headers say {thick_mm:g} mm")
    if wrong and not allow_incomplete:
        raise InputError(
            f"{folder} {' and '.join(wrong)}; export the whole series, or say --allow-incomplete"
        )
    if wrong:
        return [f"{text}: it is taken as it is" for text in wrong]
    if not stated and slices[0].Modality == "PT":
        return ["does not say how many slices it has (NumberOfSlices): it is taken as complete"]
    return []


def _thickness(header: Dataset) -> float | None:
    """Return the distance between slices in the header, in mm, where it has one.

    For MR the thickness alone is not the distance: there may be intended gaps.
    """
    spacing, thickness = (
        abs(float(header.get(name) or 0)) for name in ("SpacingBetweenSlices", "SliceThickness")
    )
    if not spacing and header.get("Modality") != "PT":
        return None
    return max(spacing, thickness) or None  # some headers have the gap as the spacing

"""Rotations and rigid transforms as matrices."""

import numpy as np


def rotation(radians: np.ndarray) -> np.ndarray:
    """Return the rotation matrix (3, 3) of right-handed turns about x, then y, then z by three angles."""
    turn = np.eye(3)
    for axis, angle in enumerate(radians):
        j, k = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[j, j] = about[k, k] = np.cos(angle)
        about[k, j], about[j, k] = np.sin(angle), -np.sin(angle)
        turn = about @ turn
    return turn


def rotation_about(axis: np.ndarray, radians: float) -> np.ndarray:
    """Return the rotation matrix (3, 3) of a right-handed turn about a unit vector (Rodrigues' formula)."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + (np.sin(radians) * cross + (1 - np.cos(radians)) * cross @ cross)


def rigid(turn: np.ndarray, shift_mm: np.ndarray, centre_mm: np.ndarray | None = None) -> np.ndarray:
    """Return the rigid matrix (4, 4) of a turn (3, 3) about a centre, 0 by default, and then a shift."""
    centre = np.zeros(3) if centre_mm is None else centre_mm
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, centre + shift_mm - turn @ centre
    return matrix

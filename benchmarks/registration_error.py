"""Registration error of every virtual subject of a finished run.

    python benchmarks/registration_error.py results

Mean and largest displacement over the brain between the transform that was found and the simulated
one, before (no registration) and after. Ends with status 1 if a subject's mean is 1 mm or more.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from csrd.io.files import read_json
from csrd.io.volume import Volume

LIMIT_MM = 1.0


def displacement_mm(matrix_a: np.ndarray, matrix_b: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """Return the distance (N,) in mm between the places to which two matrices (4, 4) map points (N, 3)."""
    difference = matrix_a - matrix_b
    return np.linalg.norm(points_mm @ difference[:3, :3].T + difference[:3, 3], axis=1)


def errors(results: Path, subject: str) -> tuple[float, float, float]:
    """Return the mean displacement without registration, and the mean and the largest with it, in mm."""
    truth = results / "raw" / subject / "truth" / subject
    found = results / "derivatives" / "csrd" / subject / "anat" / f"{subject}_from-T1w_to-pet_xfm.json"
    brain = Volume.load(f"{truth}_brainmask.nii.gz", unit="mask")
    points = np.argwhere(brain.array > 0) @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    true_matrix = np.linalg.inv(read_json(f"{truth}_mrToPet.json")["matrix"])
    before = displacement_mm(true_matrix, np.eye(4), points)
    after = displacement_mm(true_matrix, np.array(read_json(found)["RegistrationMatrix"]), points)
    return before.mean(), after.mean(), after.max()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default="results")
    results = parser.parse_args().results
    subjects = sorted(path.name for path in (results / "raw").glob("sub-*") if (path / "truth").is_dir())
    if not subjects:
        sys.exit(f"{results} holds no virtual subjects; name the results folder of a finished run")
    table = [errors(results, subject) for subject in subjects]
    print(f"{'subject':>8} {'before':>8} {'mean':>8} {'largest':>8}  mm")
    for subject, row in zip(subjects, table, strict=True):
        print(f"{subject:>8} " + " ".join(f"{value:8.2f}" for value in row))
    worst = max(mean for _, mean, _ in table)
    print(f"largest mean error {worst:.2f} mm, limit {LIMIT_MM:g} mm")
    sys.exit(1 if worst >= LIMIT_MM else 0)


if __name__ == "__main__":
    main()

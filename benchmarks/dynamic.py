"""Time and memory of a dynamic scan: 32 frames of 80 × 96 × 80 with an MR on another grid.

The scan is a phantom head whose activity rises and falls; frames have the durations of a [11C]DASB scan on
the HRRT, and noise by their counts. The first frame is empty. Prints seconds, memory, and the error of the
frames before and after.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.io.frames import read_frames
from csrd.io.volume import Volume, centred_affine, writing_frames

SHAPE, VOXEL_MM = (80, 96, 80), 2.5
MR_SHAPE, MR_MM = (176, 192, 176), 1.1
DURATIONS = [10] * 6 + [20] * 3 + [30] * 6 + [60] * 5 + [120] * 5 + [300] * 7
HALF_LIFE_S, RESOLUTION_MM, FILTER_MM = 1224.0, 6.0, 5.0
# centre (mm), half axes (mm), activity and MR of ellipsoids; later ones lie over earlier ones
PARTS = [
    ((0, 0, 0), (78, 98, 88), 5e3, 300.0),
    ((0, 2, 8), (66, 84, 68), 20e3, 500.0),
    ((0, 2, 8), (58, 76, 60), 9e3, 900.0),
    ((26, 10, 4), (7, 18, 12), 45e3, 600.0),
    ((-26, 10, 4), (7, 18, 12), 45e3, 600.0),
    ((0, -50, -42), (46, 28, 22), 16e3, 550.0),
]


def head(shape: tuple[int, ...], affine: np.ndarray, column: int) -> np.ndarray:
    """Return the phantom's activity in Bq/mL (column 2) or its MR (column 3)."""
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    value = np.zeros(shape)
    for part in PARTS:
        value[np.linalg.norm((points - part[0]) / np.array(part[1]), axis=-1) < 1] = part[column]
    return gaussian_filter(value, 0.5)


def frames_of(activity: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each frame's truth and image, decay-corrected to the injection."""
    rng, starts = np.random.default_rng(1), np.cumsum([0, *DURATIONS[:-1]])
    found = []
    for number, (start, duration) in enumerate(zip(starts, DURATIONS, strict=True)):
        middle = start + duration / 2
        truth = activity * (0.0 if number == 0 else 1 - np.exp(-middle / 200)) * np.exp(-middle / 6000)
        lived = 2 ** (-middle / HALF_LIFE_S) * duration
        noise = gaussian_filter(rng.standard_normal(SHAPE), FILTER_MM / 2.355 / VOXEL_MM)
        noise *= np.sqrt(truth * 9e7 / lived) / max(noise.std(), 1e-9) / 100
        found.append((truth, (truth + noise).astype(np.float32)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--std", action="store_true", help="predict the standard deviation too")
    chosen = parser.parse_args()
    affine, mr_affine = centred_affine(SHAPE, VOXEL_MM), centred_affine(MR_SHAPE, MR_MM)
    mr_affine[:3, 3] += 6, -4, 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        activity = gaussian_filter(head(SHAPE, affine, 2), RESOLUTION_MM / 2.355 / VOXEL_MM)
        pairs, grid = frames_of(activity), Volume(np.zeros(SHAPE, np.float32), affine, "Bq/mL")
        with writing_frames(folder / "dyn.nii.gz", grid, len(pairs)) as append:
            for _, image in pairs:
                append(image)
        starts = [int(start) for start in np.cumsum([0, *DURATIONS[:-1]])]
        said = {"Units": "Bq/mL", "FrameTimesStart": starts, "FrameDuration": DURATIONS}
        (folder / "dyn.json").write_text(json.dumps(said))
        Volume(head(MR_SHAPE, mr_affine, 3).astype(np.float32), mr_affine).save(folder / "mr.nii.gz")
        command = [Path(sys.executable).with_name("csrd"), "denoise", "dyn.nii.gz", "out.nii.gz"]
        command += ["--mr", "mr.nii.gz", *(["--std", "std.nii.gz"] if chosen.std else [])]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6
        print(f"{len(pairs)} frames of {SHAPE} with an MR: {seconds:.0f} s, {cpu:.0f} CPU s, {memory:.2f} GB")
        inside, size = activity > 8e3, 100 / activity[activity > 8e3].mean()
        frames = read_frames(folder / "out.nii.gz")
        assert frames is not None, "what was written has frames"
        for number, ((truth, image), frame) in enumerate(zip(pairs, frames, strict=True), start=1):
            before, after = (
                float(np.sqrt(np.mean((a - truth)[inside] ** 2))) * size for a in (image, frame.volume.array)
            )
            total = float(frame.volume.array[inside].mean() / max(truth[inside].mean(), 1e-9))
            print(
                f"frame {number}: error {before:.1f} % before, {after:.1f} % after; mean {total:.3f} of truth"
            )


if __name__ == "__main__":
    main()

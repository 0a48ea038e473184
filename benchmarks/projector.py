"""Speed of the projector in lines per second, with and without ordering and summing by families.

    python benchmarks/projector.py [--lines 1000000]

Random lines of the HRRT through a 160³ and an 80³ image: forward, back, and the fused pass of OSEM in
random order and in that of `Scanner.neighbours_first`. Then the exact geometric sensitivity, against
projecting its 4.5e9 lines one by one at the rate measured here.
"""

import argparse
import time

import numba
import numpy as np

from csrd.recon.sensitivity import geometric_sensitivity, random_lines
from csrd.scanner import projector
from csrd.scanner.geometry import hrrt

REPEATS = 5


def seconds(call) -> float:
    """Return the median time of a call after one that compiles and warms up."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    number = parser.parse_args().lines
    scanner, draw = hrrt(), np.random.default_rng(0)
    crystals = random_lines(draw, number, scanner).astype(np.uint32)
    positions = scanner.crystal_positions
    starts, ends = positions[crystals[:, 0]], positions[crystals[:, 1]]
    ordered = crystals[scanner.neighbours_first(crystals)]
    additive = np.ones(number, np.float32)
    print(f"{number:,} random lines of the HRRT, {numba.get_num_threads()} threads; thousand lines a second")
    print(f"{'image':>6} {'forward':>9} {'back':>9} {'fused':>9} {'ordered':>9} {'gain':>6}")
    for n, voxel_mm in ((160, 1.21875), (80, 2.4375)):
        shape, voxel = (n, n, n), np.full(3, voxel_mm)
        origin = -(np.array(shape) - 1) / 2 * voxel
        image = draw.random(shape, dtype=np.float32)
        images = projector.private_images(shape)
        grid = origin, voxel

        def fused(events, image=image, images=images, grid=grid):
            projector.em_back(image, events, positions, additive, *grid, images)

        times = [
            seconds(lambda: projector.forward(image, *grid, starts, ends)),  # noqa: B023
            seconds(lambda: projector.back(additive, *grid, starts, ends, shape)),  # noqa: B023
            seconds(lambda: fused(crystals)),  # noqa: B023
            seconds(lambda: fused(ordered)),  # noqa: B023
        ]
        rates = [number / t / 1000 for t in times]
        print(f"{n:>5}³ " + " ".join(f"{rate:9.0f}" for rate in rates) + f" {rates[3] / rates[2]:5.1f}×")
    shape, voxel_mm = (88, 104, 88), 2.4375
    family = seconds(lambda: geometric_sensitivity(scanner, shape, voxel_mm))
    back = seconds(
        lambda: projector.back(
            additive, -(np.array(shape) - 1) / 2 * voxel_mm, [voxel_mm] * 3, starts, ends, shape
        )
    )
    lines = len(scanner.head_pairs) * scanner.crystals_per_head**2
    single = back * lines / number
    print(f"all {lines:.3g} lines into {shape}: by families {family:.1f} s, one by one {single:.0f} s,"
          f" {single / family:.0f}× as long")  # fmt: skip


if __name__ == "__main__":
    main()

"""Reading and thinning PETSIRD, against the package petsird on the same file, on one core.

    python benchmarks/petsird_events.py [--events 1e6] [--package-events 5e4]

Writes random coincidences of a scanner of 56 modules of 8 × 64 crystals. The package reads a shorter file,
its rate being the same at any length; thinning by it means to read, draw and write its objects. CPU seconds,
for machines that others use too.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import petsird
from petsird.helpers.create import initialize_scanner_information_dimensions
from petsird.helpers.generator import CylindricalBlocksInfo, get_scanner_geometry

from csrd.listmode import open_listmode, thin, write_petsird
from csrd.seeds import generator

MODULES, COLUMNS, RINGS = 56, 8, 64
EVENTS_PER_MS, DRF = 200, 4


def header() -> petsird.Header:
    """Return the header of a cylinder like the mMR's, without efficiencies."""
    block = CylindricalBlocksInfo(
        crystal_length=(20.0, 4.0, 4.0), num_crystals_per_module=(1, COLUMNS, RINGS), radius=328.0,
        num_modules_along_ring=MODULES, num_modules_along_axis=1, arc=2 * np.pi, start_angle=0.0,
        module_spacing_along_axis=0.0, number_of_tof_bins=1, tof_resolution=100.0, LLD=430.0, ULD=610.0,
        number_of_event_energy_bins=1, energy_resolution=0.1, material_id=1,
    )  # fmt: skip
    scanner = petsird.ScannerInformation(scanner_geometry=get_scanner_geometry([block]))
    initialize_scanner_information_dimensions(scanner, 1, False, False)
    scanner.event_energy_bin_edges[0] = petsird.BinEdges(edges=np.array([430, 610], np.float32))
    return petsird.Header(scanner=scanner)


def write(path: Path, record: petsird.Header, events: int) -> None:
    """Write random events, a fifth of them delayeds, 200 a millisecond, where the scanner has crystals."""
    draw = generator(1, "benchmark", events)
    columns = COLUMNS + 1  # the package's boxes are half a crystal beside their places
    heads, rest = draw.integers(MODULES // 2, size=(events, 1)), draw.integers(RINGS, size=(events, 2))
    crystals = ((heads + [0, MODULES // 2]) * RINGS + rest) * columns + draw.integers(
        COLUMNS, size=(events, 2)
    )
    times = (np.arange(events) // EVENTS_PER_MS).astype(np.uint32)
    segment = crystals.astype(np.uint32), draw.random(events) < 0.8, times
    write_petsird(path, [segment], record, int(times[-1]) + 1)


def package_blocks(path: Path) -> Iterator[petsird.TimeBlock]:
    """Yield what the package reads."""
    with petsird.BinaryPETSIRDReader(str(path)) as reader:
        reader.read_header()
        yield from reader.read_time_blocks()


def package_thin(path: Path, target: Path, record: petsird.Header) -> None:
    """Thin by the package's objects."""
    draw = generator(1, "package")
    with petsird.BinaryPETSIRDWriter(str(target)) as writer:
        writer.write_header(record)
        for block in package_blocks(path):
            for matrix in (block.value.prompt_events, block.value.delayed_events):
                stay = draw.random(len(matrix[0][0])) < 1 / DRF
                matrix[0][0] = [event for event, yes in zip(matrix[0][0], stay, strict=True) if yes]
            writer.write_time_blocks([block])


def seconds(run: Callable[[], object]) -> float:
    """Return the best CPU time of three runs, in s."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=float, default=1e6)
    parser.add_argument("--package-events", type=float, default=5e4)
    arguments = parser.parse_args()
    events, fewer = int(arguments.events), int(arguments.package_events)
    record = header()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, target = (Path(folder, f"{name}.petsird") for name in ("ours", "theirs", "target"))
        write(ours, record, events)
        write(theirs, record, fewer)
        rates = {
            "read, package": fewer / seconds(lambda: list(package_blocks(theirs))),
            "read, csrd": events / seconds(lambda: list(open_listmode(ours).blocks())),
            "thin, package": fewer / seconds(lambda: package_thin(theirs, target, record)),
            "thin, csrd": events / seconds(lambda: thin(ours, target, DRF, seed=1)),
        }
    print(f"{'':16}{'events/s':>14}")
    for name, rate in rates.items():
        print(f"{name:16}{rate:14,.0f}")
    print(f"read: {rates['read, csrd'] / rates['read, package']:.0f} times the package's rate")
    print(f"thin: {rates['thin, csrd'] / rates['thin, package']:.0f} times the package's rate")


if __name__ == "__main__":
    main()

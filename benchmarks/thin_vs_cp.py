"""Thinning against `cp` of the same file, from the page cache, on one core.

    python benchmarks/thin_vs_cp.py [--packets 2e7] [--repeats 5] [--folder DIR]

Writes a realistic `.l64` (prompts, a fifth delayeds, a time tag each ms), then times both by turns.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from csrd.listmode import thin, write_hrrt
from csrd.listmode.hrrt_packets import HEAD_CRYSTALS, HEAD_PAIRS
from csrd.seeds import generator

EVENTS_PER_MS = 200
SEGMENT = 1 << 20
DRFS = (4, 10)


def events(count: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield segments of random events over all pairs of heads, 200 a millisecond."""
    pairs = np.array(HEAD_PAIRS)
    rng = generator(1, "benchmark")
    for first in range(0, count, SEGMENT):
        size = min(SEGMENT, count - first)
        heads = pairs[rng.integers(len(pairs), size=size)]
        crystals = heads * HEAD_CRYSTALS + rng.integers(HEAD_CRYSTALS, size=(size, 2))
        time_ms = (first + np.arange(size)) // EVENTS_PER_MS
        yield crystals.astype(np.uint32), rng.random(size) < 0.8, time_ms.astype(np.uint32)


def seconds(run: Callable[[], object], target: Path) -> float:
    """Return how long a run takes that writes `target`, which is removed before and after."""
    target.unlink(missing_ok=True)
    start = time.perf_counter()
    run()
    elapsed = time.perf_counter() - start
    target.unlink()
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=float, default=2e7)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where to write, by default the temporary folder")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source, target = Path(folder, "source.l64"), Path(folder, "target.l64")
        write_hrrt(source, events(int(arguments.packets)), {})
        runs = {"cp": lambda: subprocess.run(["cp", source, target], check=True)}  # nosec B607
        runs |= {f"thin, drf {drf}": lambda drf=drf: thin(source, target, drf, seed=1) for drf in DRFS}
        taken = {name: [] for name in runs}
        for _ in range(1 + arguments.repeats):  # by turns, so that a busy machine troubles all alike
            for name, run in runs.items():
                taken[name].append(seconds(run, target))
        report({name: times[1:] for name, times in taken.items()}, source.stat().st_size)  # 1st: warm-up


def report(taken: dict[str, list[float]], size: int) -> None:
    """Print the median seconds, the GB/s of the source, and the ratio to `cp`."""
    reference = np.median(taken["cp"])
    print(f"{size / 1e6:.0f} MB, median of {len(taken['cp'])}, one core")
    print(f"{'':14}{'s':>8}{'best':>8}{'GB/s':>8}{'x cp':>8}")
    for name, times in taken.items():
        median = np.median(times)
        ratio = median / reference
        print(f"{name:14}{median:8.3f}{min(times):8.3f}{size / 1e9 / median:8.2f}{ratio:8.2f}")


if __name__ == "__main__":
    main()

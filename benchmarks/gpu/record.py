"""Record of a phase's figures in a JSON file that is complete at any moment; timing and peak memory."""

import argparse
import json
import os
import platform
import re
import time
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

REPEATS = 5


class Record:
    """Figures by name. Each is written as soon as it is there: a phase may be ended at any time."""

    def __init__(self, path: Path, only: str = "") -> None:
        """Write to `path`; of the figures, only those whose names match the pattern `only` are measured."""
        self.path, self.content, self.failed, self.only = path, {}, [], re.compile(only)

    def measure(self, name: str, work: Callable[[], object]) -> None:
        """Note what `work` returns under `name`, or why it failed; the other figures are still taken."""
        if not self.only.search(name):
            return
        start = time.perf_counter()
        try:
            value = work()
        except Exception as error:
            traceback.print_exc()
            value = {"error": f"{type(error).__name__}: {error}"[:500]}
            self.failed.append(name)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.content[name] = value
        self.path.write_text(json.dumps(self.content, indent=1))
        print(f"{name} ({time.perf_counter() - start:.0f} s): {json.dumps(value)}", flush=True)


def arguments(description: str) -> argparse.ArgumentParser:
    """Return the parser of a phase's command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("part", type=Path, help="the JSON that the figures are written to")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", default="", help="a pattern: measure these figures alone")
    return parser


def machine(device: str) -> dict:
    """Return what the figures were measured on."""
    found = {
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
    }
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found |= {"card": card.name, "memory_GiB": round(card.total_memory / 2**30, 1)}
        found |= {"cudnn": torch.backends.cudnn.version(), "cuda": torch.version.cuda}
    return found


def seconds(work: Callable[[], object], device: str, repeats: int = REPEATS) -> float:
    """Return the median time of a call, after one that compiles and warms up."""
    work()
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def peak_gib(work: Callable[[], object], device: str) -> float | None:
    """Return the most memory of the device that a call held, in GiB; None on a CPU."""
    if device != "cuda":
        work()
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return round(torch.cuda.max_memory_allocated() / 2**30, 2)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()

"""Cost of many scans, computed from the jobs of a finished run of a few.

    python benchmarks/scale.py RESULTS [--scans 10000] [--cores 64] [--core-hour 0.04] [--gb-month 0.02]

RESULTS is the results folder of a run. Reads Snakemake's benchmark file of every job of one subject (their
names begin with sub-), and the size of every file that is kept of a subject. Prices are examples
without a currency; put in your provider's. docs/scale.md has the formula.
"""

import argparse
import csv
import re
from collections import defaultdict
from pathlib import Path

SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
NO_SCAN = ("logs", "benchmarks", "models", "tables")  # of the whole run, or of no size
GB = 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--cores", type=int, default=64, help="jobs of one thread that run at a time")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price of a core for an hour")
    parser.add_argument("--gb-month", type=float, default=0.02, help="price of a GB for a month")
    options = parser.parse_args()
    jobs = jobs_of(options.results / "benchmarks")
    subjects = {subject for table in jobs.values() for subject, *_ in table}
    print(f"{len(subjects)} subjects; a scan, in the mean:\n")
    print("| job | a scan | wall s | CPU s | memory, GB |\n|---|--:|--:|--:|--:|")
    wall = cpu = memory = 0.0
    for rule, table in sorted(jobs.items(), key=lambda item: -sum(row[2] for row in item[1])):
        seconds, used = (sum(row[column] for row in table) / len(subjects) for column in (1, 2))
        most = max(row[3] for row in table)
        print(f"| {rule} | {len(table) / len(subjects):g} | {seconds:.1f} | {used:.1f} | {most:.2f} |")
        wall, cpu, memory = wall + seconds, cpu + used, max(memory, most)
    kept = kept_gb(options.results, subjects) / len(subjects)
    hours, gigabytes = options.scans * cpu / 3600, options.scans * kept
    print(f"\na scan: {wall:.1f} s, {cpu:.1f} CPU seconds, {memory:.2f} GB of memory, {kept:.4f} GB kept")
    print(f"{options.scans} scans: {hours:,.0f} core-hours, {gigabytes:,.0f} GB kept,", end=" ")
    print(f"{options.scans * wall / options.cores / 3600:,.1f} hours on {options.cores} cores")
    print(f"at {options.core_hour:g} a core-hour: {hours * options.core_hour:,.0f};", end=" ")
    print(f"at {options.gb_month:g} a GB and month: {gigabytes * options.gb_month:,.0f} a month")


def jobs_of(folder: Path) -> dict[str, list[tuple[str, float, float, float]]]:
    """Return subject, wall s, CPU s and peak memory in GB of each job of one subject, by its rule."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*/*.tsv")):
        if subject := SUBJECT.match(path.stem):
            with open(path) as stream:
                for row in csv.DictReader(stream, delimiter="\t"):
                    numbers = (number(row[name]) for name in ("s", "cpu_time", "max_rss"))
                    seconds, used, mb = numbers
                    found[path.parent.name].append((subject[0], seconds, used, mb * 2**20 / GB))
    return found


def number(text: str) -> float:
    """Return a figure of a benchmark; a job that was too short for it counts as 0."""
    return 0.0 if text in ("-", "NA") else float(text)


def kept_gb(results: Path, subjects: set[str]) -> float:
    """Return the size in GB of the files of all subjects, without those that are links to the user's own."""
    files = [path for path in results.rglob("*") if path.is_file() and not path.is_symlink()]
    parts = {path: path.relative_to(results).parts for path in files}
    own = [path for path in files if parts[path][0] not in NO_SCAN and subjects & named(parts[path])]
    return sum(path.stat().st_size for path in own) / GB


def named(parts: tuple[str, ...]) -> set[str]:
    """Return the subjects that the parts of a path name."""
    return {found[0] for part in parts if (found := SUBJECT.match(part))}


if __name__ == "__main__":
    main()

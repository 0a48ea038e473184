"""Time of the plan of a complete study: 27 subjects, five low doses, seven methods.

    python benchmarks/plan.py [--tests 7] [--runs 3]

`snakemake -n` of that study, in wall and in CPU seconds, against that of a workflow with one empty rule: what
snakemake itself takes to start. The seventh method is that of docs/methods.md, in a copy of the package.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
SUBJECTS, DRFS = 27, [2, 4, 6, 8, 10]
METHODS = ["lowdose", "tv", "unet", "restormer", "csrd", "csrdnomr", "gaussian"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, default=7, help="of the 27 subjects, those the table is made of")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        add_method(folder)
        for part in ("workflow", "config"):
            (folder / part).symlink_to(REPOSITORY / part)
        (folder / "empty.smk").write_text("rule all:\n    output: 'nothing'\n    shell: 'true'\n")
        cohort = f"cohort={{train: {SUBJECTS - 2 - options.tests}, validation: 2, test: {options.tests}}}"
        study = ["--config", f"drfs={DRFS}", f"methods=[{', '.join(METHODS)}]", cohort]
        jobs, ours = planned(folder, study, options.runs)
        _, empty = planned(folder, ["--snakefile", "empty.smk"], options.runs)
    print(f"{SUBJECTS} subjects ({options.tests} in the table), {len(DRFS)} doses, {len(METHODS)} methods")
    print(f"snakemake -n: {jobs} jobs, {ours[0]:.1f} s ({ours[1]:.1f} CPU seconds)")
    print(f"an empty workflow: {empty[0]:.1f} s ({empty[1]:.1f} CPU seconds)")
    print(f"the study's plan takes {ours[1] / empty[1]:.1f}× the CPU seconds of an empty one")


def add_method(folder: Path) -> None:
    """Put the package with the method of docs/methods.md into `folder`."""
    shutil.copytree(REPOSITORY / "csrd", folder / "csrd", ignore=shutil.ignore_patterns("__pycache__"))
    _, section = (REPOSITORY / "docs" / "methods.md").read_text().split("## A method of your own")
    code = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)[0]
    (folder / "csrd" / "methods" / "gaussian.py").write_text(code)


def planned(folder: Path, arguments: list[str], runs: int) -> tuple[int, np.ndarray]:
    """Return the number of jobs of a plan, and the median wall and CPU seconds of making it."""
    command = [SNAKEMAKE, "--cores", "1", "-n", *arguments]
    seconds = []
    for run in range(runs + 1):
        started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            sys.exit(done.stdout)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        if run:  # the first one compiles the copy
            cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            seconds.append((time.perf_counter() - started, cpu))
    return int(re.findall(r"^total +(\d+)$", done.stdout, flags=re.MULTILINE)[0]), np.median(seconds, axis=0)


if __name__ == "__main__":
    main()

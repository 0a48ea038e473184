"""Where the time went: the benchmark files that a run leaves, one a job, added up by rule."""

from pathlib import Path

import pandas as pd

from csrd.report.html import Cell, plain_table

SHORT = 0.005  # of all time; rules below it share a row
BY_FILE = ("fit",)  # rules whose jobs are told apart: a method's training is what one wants to know


def times(benchmarks: str | Path) -> pd.DataFrame:
    """Return ``rule, jobs, wall_s, cpu_s, memory_mb``, the longest first: sums, and the largest memory.

    Reads ``<rule>.tsv`` and ``<rule>/<job>.tsv`` under the folder; a file that is no benchmark is left out,
    a job that was too short for the clock counts as 0.
    """
    folder, rows = Path(benchmarks), []
    for path in sorted(folder.rglob("*.tsv")):
        parts = path.relative_to(folder).with_suffix("").parts
        rule = f"{parts[0]} {parts[-1]}" if parts[0] in BY_FILE and len(parts) > 1 else parts[0]
        try:
            table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
            numbers = table[["s", "cpu_time", "max_rss"]].fillna(0).astype(float).mean()
        except (KeyError, ValueError, OSError):
            continue
        rows.append((rule, *numbers))
    jobs = pd.DataFrame(rows, columns=["rule", "wall_s", "cpu_s", "memory_mb"])
    groups = jobs.groupby("rule")
    table = pd.concat(
        [groups.size().rename("jobs"), groups[["wall_s", "cpu_s"]].sum(), groups["memory_mb"].max()], axis=1
    )
    return table.sort_values("wall_s", ascending=False).reset_index()


def times_html(table: pd.DataFrame) -> str:
    """Return the table of `times` as an HTML fragment, the total below; nothing for a table without rows."""
    if table.empty:
        return ""
    total = ("all", *table[["jobs", "wall_s", "cpu_s"]].sum(), table["memory_mb"].max())
    short = table["wall_s"] < SHORT * table["wall_s"].sum()
    listed, rest = table[~short], table[short]
    lines, rows = list(listed.itertuples(index=False)), []
    if len(rest):
        name = f"{len(rest)} shorter rule{'s' * (len(rest) > 1)}"
        lines.append((name, *rest[["jobs", "wall_s", "cpu_s"]].sum(), rest["memory_mb"].max()))
    for rule, jobs, wall, cpu, memory in [*lines, total]:
        share = f"{wall / max(table['wall_s'].sum(), 1e-9):.0%}"
        texts = [f"{jobs:.0f}", clock(wall), share, clock(cpu), f"{memory / 1024:.1f}"]
        rows.append((rule, [Cell(text, best=rule == "all") for text in texts]))
    heads = ["Jobs", "Wall time", "Share", "CPU time", "Memory (GiB)"]
    note = (
        "Wall and CPU time are sums over a rule's jobs, some of which ran side by side; memory is the "
        "largest job's. Each job counts as it last ran; the writing of this page is not among them."
    )
    return plain_table("Rule", heads, rows, note)


def clock(seconds: float) -> str:
    """Return a time as a reader says it.

    >>> clock(42.4), clock(125), clock(7380)
    ('42 s', '2 min 05 s', '2 h 03 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"

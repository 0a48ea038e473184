"""Computing time by stage and rule: sums over the benchmark files of a run, one for each job."""

import pandas as pd

from csrd.report.html import Cell, plain_table

SHORT = 0.005  # fraction of all time; shorter rules are only in their stage's sum
STAGES = {
    "cohort": ("simulate_anatomy", "acquire", "import_listmode", "import_t1w", "import_corrections")
    + ("import_images", "import_norm", "hash_inputs"),
    "thin": ("thin",),
    "recon": ("geometric_sensitivity", "subject_sensitivity", "estimate_scatter", "reconstruct")
    + ("reconstruct_frames",),
    "align": ("align", "describe_derivatives", "name_derivatives"),
    "train": ("fit", "bring_model"),
    "denoise": ("denoise",),
    "scans": ("denoise_scan", "describe_methods", "list_scans", "scan_page"),
    "kinetics": ("find_regions", "tacs", "kinetics", "retest"),
    "evaluate": ("evaluate", "coverage", "match_truth", "regions", "evaluate_truth", "merge_metrics")
    + ("merge_coverage", "merge_truth", "merge_regions", "oracle", "painted", "lesions", "merge_lesions")
    + ("merge_false_spots", "compare_vendor", "merge_vendor"),
    "tables": ("table1", "table1_truth", "statistics", "tables_lesions", "figure_regions", "figure_vendor"),
    "figures": ("figure", "figure_errors", "figure_std", "figure_doses", "figure_training")
    + ("figure_reliability",),
    "report": ("record_run", "scan_page", "report"),
    "draws": ("thin_again", "reconstruct_again", "crop_again"),
    "noise": ("denoise_again", "noise"),
    "dynamic": ("acquire_repeat", "thin_repeat", "reconstruct_repeat", "mean_of_frames", "align_dynamic")
    + ("denoise_mean", "denoise_frames", "tune_filters", "measure_binding", "dynamic"),
}  # the rules of each rule file, by their benchmarks' folders: variants of a rule share one
INDENT = "\u2003"
BY_JOB = ("fit",)  # rules whose jobs are listed one by one


def times(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return ``stage, rule, jobs, wall_s, cpu_s, memory_mb``: sums, and the largest memory.

    `jobs` is the table of `csrd.io.tables.read_benchmarks`. Stages are in the order of a run, the rules of
    each with the longest first.
    """
    stage_of = {rule: stage for stage, rules in STAGES.items() for rule in rules}
    named = jobs.assign(
        stage=jobs["rule"].map(stage_of).fillna("other"),
        rule=jobs["rule"].where(~jobs["rule"].isin(BY_JOB), jobs["rule"] + " " + jobs["job"]),
    )
    groups = named.groupby(["stage", "rule"])
    table = pd.concat(
        [groups.size().rename("jobs"), groups[["wall_s", "cpu_s"]].sum(), groups["memory_mb"].max()], axis=1
    ).reset_index()
    order = {stage: i for i, stage in enumerate([*STAGES, "other"])}
    table["order"] = table["stage"].map(order)
    table = table.sort_values(["order", "wall_s"], ascending=[True, False], ignore_index=True)
    return table.drop(columns="order")


def times_html(table: pd.DataFrame) -> str:
    """Return the table of `times` as an HTML fragment: a stage, its rules, at the end the total.

    Nothing for a table without rows.
    """
    if table.empty:
        return ""
    whole = float(table["wall_s"].sum())
    rows = []
    for stage, part in table.groupby("stage", sort=False):
        rows.append((stage, _cells(_sum(part), whole, best=True)))
        listed = part[part["wall_s"] >= SHORT * whole] if len(part) > 1 else part[:0]
        rows += [(INDENT + str(row["rule"]), _cells(row, whole)) for _, row in listed.iterrows()]
    rows.append(("all", _cells(_sum(table), whole, best=True)))
    heads = ["Jobs", "Wall time", "Share", "CPU time", "Memory (GiB)"]
    note = (
        "Wall and CPU time are sums over the jobs of a stage and its rules, some of which ran side by side; "
        "memory is the largest job's. Rules below half a percent of all time are not listed. Each job counts "
        "as it last ran; the writing of this page is not among them."
    )
    return plain_table("Stage and rule", heads, rows, note)


def _sum(table: pd.DataFrame) -> pd.Series:
    return pd.concat([table[["jobs", "wall_s", "cpu_s"]].sum(), table[["memory_mb"]].max()])


def _cells(row: pd.Series, whole: float, best: bool = False) -> list[Cell]:
    share = f"{row['wall_s'] / max(whole, 1e-9):.0%}"
    texts = [clock(row["wall_s"]), share, clock(row["cpu_s"]), f"{row['memory_mb'] / 1024:.1f}"]
    return [Cell(text, best=best) for text in (f"{row['jobs']:.0f}", *texts)]


def clock(seconds: float) -> str:
    """Return a time as text.

    >>> clock(42.4), clock(125), clock(7380)
    ('42 s', '2 min 05 s', '2 h 03 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"

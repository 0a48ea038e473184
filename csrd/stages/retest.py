"""Binding potentials of all scans of a dataset, and their agreement between test and retest."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from csrd.errors import InputError, notice
from csrd.io.bids import entities_of
from csrd.io.files import write_json, write_text
from csrd.io.tables import read_tsv
from csrd.kinetics.retest import Agreement, agreement
from csrd.kinetics.tables import sidecar_of_table
from csrd.report.html import Cell, page, plain_table

MISSING = "n/a"
OF_SCAN = ("participant_id", "session", "scan", "method")
OF_FIT = ("BPND", "BPND_se", "R1", "R1_se", "k2prime", "k2prime_se")
COLUMNS = (
    *("method", "region", "test_session", "retest_session", "people", "BPND_test", "BPND_retest"),
    *("difference", "difference_sd", "variability", "ICC", "ICC_low", "ICC_high"),
)
ABOUT = {
    "people": "Participants with a BP_ND above 0 in both sessions",
    "difference": "Mean of retest minus test, in percent of the mean of both",
    "difference_sd": "Standard deviation of it over participants, in percent",
    "variability": "Mean of its absolute value, in percent: the test-retest variability",
    "ICC": "Intraclass correlation ICC(1,1) (Shrout & Fleiss 1979)",
    "ICC_low": "Lower end of its 95 % interval",
    "ICC_high": "Upper end of its 95 % interval",
}
HEADS = ["People", "BP_ND test", "BP_ND retest", "Difference (%)", "Variability (%)", "ICC (95 % interval)"]

Found = dict[tuple[str, str], dict[tuple[tuple[str, str], ...], dict[str, float]]]
"""BP_ND by (method, region), then by the scan's entities but the session, then by session."""


def retest(
    tables: Sequence[str | Path],
    values: str | Path,
    agreements: str | Path,
    page_file: str | Path,
    sessions: Sequence[str] = (),
) -> None:
    """Write BP_ND of all scans as one table, its agreement between two sessions as another, and as a page.

    `tables` are those of `csrd.stages.kinetics.kinetics`. `sessions` are those of test and retest, in this
    order; without them they are a participant's two sessions by name, and one with more is left out.
    Raises InputError where there is no table, or `sessions` are not two.
    """
    if not tables:
        raise InputError("there is no BP_ND; run csrd bids with the level participant and --labels first")
    if len(sessions) not in (0, 2):
        raise InputError(f"{len(sessions)} sessions are named; name those of test and retest, in this order")
    found: Found = defaultdict(lambda: defaultdict(dict))
    lines = ["\t".join([*OF_SCAN, "region", *OF_FIT])]
    for table in map(Path, sorted(map(str, tables))):
        said = entities_of(table)
        method = said.pop("desc")
        scan = table.name.partition("_desc-")[0]
        cells = (f"sub-{said['sub']}", said.get("ses", MISSING), scan, method)
        session = said.pop("ses", "")
        for _, row in read_tsv(table, "what csrd kinetics writes").rows:
            lines.append("\t".join([*cells, row["name"], *(row[key] for key in OF_FIT)]))
            if row["BPND"] != MISSING and session:
                found[method, row["name"]][tuple(sorted(said.items()))][session] = float(row["BPND"])
    write_text(values, "\n".join(lines) + "\n")
    rows = list(_agreements(found, sessions))
    _write(rows, agreements)
    write_text(page_file, page("Test and retest", _page(rows), "style.css"))


def _agreements(found: Found, sessions: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Agreement]]:
    """Yield (method, region, test session, retest session) and the agreement of each method and region.

    Participants whose two sessions have other names are rows of their own.
    """
    said: set[str] = set()
    for (method, region), scans in found.items():
        pairs = defaultdict(list)
        for scan, by_session in scans.items():
            there = [one for one in sessions if one in by_session] if sessions else sorted(by_session)
            name = f"sub-{dict(scan)['sub']}"
            if len(there) != 2:
                if name not in said:
                    notice(f"{name} has {len(there)} of the two sessions of test and retest: left out")
                said.add(name)
                continue
            if min(by_session[one] for one in there) > 0:
                pairs[there[0], there[1]].append([by_session[one] for one in there])
        for (first, second), both in pairs.items():
            yield (method, region, first, second), agreement(*np.array(both).T)


def _write(rows: Sequence[tuple[tuple[str, ...], Agreement]], table: str | Path) -> None:
    lines = ["\t".join(COLUMNS)]
    for names, one in rows:
        numbers = [one.test, one.retest, one.difference, one.difference_sd, one.variability]
        numbers += [one.icc, one.icc_low, one.icc_high]
        cells = [MISSING if np.isnan(number) else f"{number:.4g}" for number in numbers]
        lines.append("\t".join([*names, str(one.count), *cells]))
    write_text(table, "\n".join(lines) + "\n")
    write_json(sidecar_of_table(table), {key: {"Description": text} for key, text in ABOUT.items()})


def _page(rows: Sequence[tuple[tuple[str, ...], Agreement]]) -> str:
    """Return the body of the page: a table of the methods' agreement for each region."""
    if not rows:
        return "<h1>Test and retest</h1><p>No participant has BP_ND of two sessions.</p>"
    parts = ["<h1>Test and retest</h1>"]
    for region in dict.fromkeys(names[1] for names, _ in rows):
        of_region = [(names, one) for names, one in rows if names[1] == region]
        body = [(f"{n[0]}: {n[2]}, {n[3]}", _cells(one)) for n, one in of_region]
        parts.append(plain_table(region, HEADS, body, ""))
    parts.append(
        "<p>Difference: mean and standard deviation over people of retest minus test, in percent of the mean "
        "of both; variability: the mean of its absolute value; ICC(1,1) by a one-way analysis of variance. "
        "A smaller variability of a denoised scan does not show that its BP_ND is right: a bias that is the "
        "same in both scans is not in this table.</p>"
    )
    return "\n".join(parts)


def _cells(one: Agreement) -> list[Cell]:
    alone = bool(np.isnan(one.difference_sd))
    interval = f"{_text(one.icc, '.2f')} ({_text(one.icc_low, '.2f')} to {_text(one.icc_high, '.2f')})"
    texts = [
        str(one.count),
        _text(one.test, ".2f"),
        _text(one.retest, ".2f"),
        _text(one.difference, "+.1f") + ("" if alone else f" ± {one.difference_sd:.1f}"),
        _text(one.variability, ".1f"),
        interval if np.isfinite(one.icc) else "–",
    ]
    return [Cell(text) for text in texts]


def _text(value: float, how: str) -> str:
    return "–" if np.isnan(value) else format(value, how).replace("-", "−")

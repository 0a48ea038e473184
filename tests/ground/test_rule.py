"""A job of the workflow as a call: values by name, no empty inputs, blocks of settings typed."""

from types import SimpleNamespace

import pytest

from csrd.config.sections import Align
from csrd.jobs.rule import arguments, run
from csrd.stages.thin import thin


def job(**parts) -> SimpleNamespace:
    """Return what a script gets, but for Snakemake's own kind of dictionary."""
    names = ("input", "output", "params", "wildcards", "resources")
    return SimpleNamespace(
        **{name: parts.get(name, {}) for name in names}, threads=3, log=parts.get("log", ["x"])
    )


def stage(
    listmode, listmode_out, *, drf, subject, threads, processes, align: Align, unit, header=None, facts=None
):
    """A stage of every kind of parameter."""


def test_values_go_by_name():
    inputs = {"listmode": "in.l64", "header": [], "sidecars": ["unused.json"]}
    params = {"align": {"shape": [4, 5, 6]}, "unit": None, "seed": 7}
    given = job(
        input=inputs,
        output={"listmode": "out.l64"},
        params=params,
        wildcards={"drf": "10", "subject": "sub-03"},
        resources={"gpu": 2},
    )
    assert arguments(given, stage) == {
        "listmode": "in.l64",
        "listmode_out": "out.l64",
        "drf": 10,
        "subject": "sub-03",
        "threads": 3,
        "processes": 2,
        "align": Align(shape=(4, 5, 6)),
        "unit": None,
    }
    assert arguments(job(), stage) == {"threads": 3, "processes": 1}


def test_a_mistake_of_the_users_is_said_in_the_log(tmp_path, capsys):
    log = tmp_path / "thin.log"
    wildcards, params = {"drf": "4", "subject": "sub-01"}, {"seed": 1, "nested": False}
    files = {"input": {"listmode": "none.l64"}, "output": {"listmode": tmp_path / "out.l64"}}
    with pytest.raises(SystemExit):
        run(job(**files, wildcards=wildcards, params=params, log=[log]), f"{thin.__module__}.thin")
    assert (
        log.read_text().startswith("csrd: none.l64 does not exist") and "none.l64" in capsys.readouterr().err
    )

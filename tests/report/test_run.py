import pytest

from csrd.errors import InputError
from csrd.io.files import read_json, sha256, write_json
from csrd.report.run import config_sha256, versions
from csrd.stages.report import record_run

SETTINGS = {"seed": 7, "drfs": [4, 10], "results_dir": "results", "report": {"title": "A"}}


@pytest.fixture
def files(tmp_path) -> dict:
    """Return what `record_run` takes."""
    scan = {"scan.l64": {"bytes": 3, "sha256": "ab"}}
    write_json(tmp_path / "sub-01_inputs.json", scan)
    write_json(tmp_path / "model.json", {"weights_sha256": "cd", "training": {"seconds": 1.5}})
    for name in ("DASB.tsv", "metrics.csv"):
        (tmp_path / name).write_text(name)
    return {
        "settings": SETTINGS,
        "subjects": ["sub-01"],
        "inputs": [tmp_path / "sub-01_inputs.json"],
        "study": [tmp_path / "DASB.tsv"],
        "methods": ["unet"],
        "models": [tmp_path / "model.json"],
        "metrics": tmp_path / "metrics.csv",
    }


def test_a_run_says_what_it_was_made_of(tmp_path, files):
    record_run(run=tmp_path / "run.json", **files)
    said = read_json(tmp_path / "run.json")
    assert said["seed"] == 7 and said["config"] == SETTINGS and said["versions"] == dict(versions())
    assert {"Python", "csrd", "torch"} <= said["versions"].keys()
    assert said["inputs"]["sub-01"]["scan.l64"]["sha256"] == "ab"
    table = files["study"][0]
    assert said["inputs"]["study"][str(table)]["sha256"] == sha256(table)
    # nothing that differs from one run to the next of the same
    assert said["outcome"] == {
        "models": {"unet": {"weights_sha256": "cd"}},
        "metrics_sha256": sha256(files["metrics"]),
    }


def test_a_configuration_is_known_by_its_values():
    assert config_sha256(dict(reversed(SETTINGS.items()))) == config_sha256(SETTINGS)
    assert config_sha256(SETTINGS | {"results_dir": "elsewhere"}) == config_sha256(SETTINGS)
    assert config_sha256(SETTINGS | {"seed": 8}) != config_sha256(SETTINGS)


def test_a_table_that_is_gone_is_named(tmp_path, files):
    with pytest.raises(InputError, match="cannot read .*gone.tsv"):
        record_run(run=tmp_path / "run.json", **files | {"study": [tmp_path / "gone.tsv"]})
    assert not (tmp_path / "run.json").exists()

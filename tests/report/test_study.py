import itertools

import pandas as pd
import pytest
from typer.testing import CliRunner

from csrd.cli import app
from csrd.config import load
from csrd.errors import InputError
from csrd.report.study import advantage, checks
from csrd.report.study import pooled as pooled_metrics
from csrd.stages.study import study, tables_of

METHODS = ("lowdose", "tv", "csrd", "csrdnomr")
QUALITY = {"lowdose": 0.2, "tv": 0.5, "csrd": 0.8, "csrdnomr": 0.7}


@pytest.fixture
def runs(tmp_path) -> list:
    """Three runs in which CSR-D is the best of four methods in all that is measured."""
    folders = []
    for i in range(3):
        rows = []
        for subject, drf, method in itertools.product(["sub-07", "sub-08"], [4, 10], METHODS):
            q = QUALITY[method] + 0.01 * i - 0.005 * drf
            rows.append((subject, drf, method, 1 - q, 20 + 10 * q, q))
        folders.append(tmp_path / f"seed-{i}")
        write(folders[-1], pd.DataFrame(rows, columns=["subject", "drf", "method", "mae", "psnr", "ssim"]))
        write_spots(folders[-1])
    return folders


def pooled(folders) -> pd.DataFrame:
    return pooled_metrics(tables_of(folders, "metrics"))


def write(folder, table) -> None:
    (folder / "metrics").mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "metrics" / "metrics.csv", index=False)


def write_spots(folder) -> None:
    found = [
        (subject, drf, method, "spot 1", kind, "lesion", 0.5)
        for subject, method in itertools.product(["sub-07", "sub-08"], ["normal", *METHODS])
        for drf in ([1] if method == "normal" else [4, 10])
        for kind in ("hot", "cold")
    ]
    table = pd.DataFrame(found, columns=["subject", "drf", "method", "spot", "kind", "size", "recovery"])
    table.to_csv(folder / "metrics" / "lesions.csv", index=False)
    counts = table[["subject", "drf", "method"]].drop_duplicates().assign(false_spots=3)
    counts.to_csv(folder / "metrics" / "false_spots.csv", index=False)


def edit(folder, subject, drf, method, key, value) -> None:
    table = pd.read_csv(folder / "metrics" / "metrics.csv")
    where = (table["subject"] == subject) & (table["drf"] == drf) & (table["method"] == method)
    assert where.sum() == 1
    table.loc[where, key] = value
    write(folder, table)


def test_a_subject_is_one_of_a_run(runs):
    rows = pooled(runs)
    assert rows["subject"].nunique() == 6 and "seed-1/sub-07" in set(rows["subject"])


def test_better_is_better_whatever_the_metrics_direction(runs):
    rows = pooled(runs)
    assert (advantage(rows, "mae", "tv") > 0.29).all() and (advantage(rows, "psnr", "tv") > 2.9).all()


def test_all_that_is_measured_passes_and_the_rest_is_said_not_to_have_run(runs):
    table = checks(pooled(runs))
    assert len(table) == 2 * 3 * 3 + 3 + 2 * 5 + 1
    rivals = table["claim"].str.contains("U-net|Restormer")
    assert (table.loc[~rivals, "verdict"] == "passed").all()
    assert (table.loc[rivals, "verdict"] == "not run").all()


def test_one_lost_image_fails_its_run_only(runs):
    edit(runs[1], "sub-08", 10, "tv", "ssim", 0.99)
    table = checks(pooled(runs))
    failed = table[table["verdict"] == "failed"]
    assert len(failed) == 1 and failed["run"].item() == "seed-1"
    assert failed["claim"].item() == "CSRD w MR beats TV in SSIM at every dose on every test subject"
    assert "3 of 4" in failed["detail"].item() and "seed-1/sub-08, 1/10" in failed["detail"].item()


def test_a_run_that_is_behind_is_named_where_the_mean_is_ahead(runs):
    for drf in (4, 10):
        for subject in ("sub-07", "sub-08"):
            edit(runs[1], subject, drf, "csrdnomr", "ssim", 0.81)
    table = checks(pooled(runs)).set_index("claim")
    row = table.loc["CSRD w MR beats CSRD w/o MR in SSIM on average"]
    assert row["verdict"] == "passed" and row["detail"].endswith("; behind in seed-1 (0.775 against 0.81)")
    assert "behind" not in table.loc["CSRD w MR beats CSRD w/o MR in PSNR on average", "detail"]


@pytest.mark.parametrize(("ahead_db", "verdict"), [(0.05, "passed"), (0.15, "failed"), (-1.0, "passed")])
def test_the_3d_baseline_may_be_a_little_ahead(runs, ahead_db, verdict):
    for folder in runs:
        table = pd.read_csv(folder / "metrics" / "metrics.csv")
        twin = table[table["method"] == "csrd"].assign(method="unet3d")
        write(folder, pd.concat([table, twin.assign(psnr=twin["psnr"] + ahead_db)]))
    table = checks(pooled(runs)).set_index("claim")
    assert table.loc["CSRD w MR is at most 0.1 behind U-net 3D in PSNR on average", "verdict"] == verdict


def test_equal_is_not_better(runs):
    for folder in runs:
        table = pd.read_csv(folder / "metrics" / "metrics.csv")
        keep = table["method"] != "csrdnomr"
        twin = table[table["method"] == "csrd"].assign(method="csrdnomr")
        write(folder, pd.concat([table[keep], twin]))
    table = checks(pooled(runs))
    assert (table.loc[table["claim"].str.contains("w/o MR"), "verdict"] == "failed").all()


def test_the_command_names_what_failed_and_fails(runs, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("drfs: [4, 10]\ntrain_drfs: [4]\n")
    command = ["study", *map(str, runs), "--config", str(config)]
    done = CliRunner().invoke(app, command)
    said = done.stdout
    assert (
        done.exit_code == 0
        and "21 of 32 checks passed" in said
        and "not run: CSRD w MR beats U-net in PSNR" in said
    )
    edit(runs[0], "sub-07", 4, "csrd", "mae", 9.0)
    done = CliRunner().invoke(app, command)
    sentence = "failed: CSRD w MR beats TV in MAE at every dose on every test subject (seed-0)"
    assert done.exit_code == 1 and sentence in done.stdout


def test_what_a_study_leaves(runs, tmp_path):
    study(runs, tmp_path / "out", load({"drfs": [4, 10], "train_drfs": [4]}))
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    expected = {"metrics.csv", "figures/dose_quality.png", "tables/lesions.csv", "tables/lesions.html"}
    expected |= {"tables/false_spots.csv"}
    expected |= {f"tables/table1.{kind}" for kind in ("csv", "md", "tex", "html")}
    expected |= {
        f"tables/{n}.{k}" for n in ("table1_by_dose", "statistics", "checks") for k in ("csv", "html")
    }
    assert names == expected
    table = pd.read_csv(tmp_path / "out" / "tables" / "table1.csv", index_col="method")
    assert (table["n"].drop("normal") == 12).all() and (table["hot_recovery"] == 0.5).all()
    assert (pd.read_csv(tmp_path / "out" / "tables" / "statistics.csv")["n"] == 6).all()
    assert "MAE (SUV)" in (tmp_path / "out" / "tables" / "table1.md").read_text()


def test_runs_that_do_not_belong_together_are_refused(runs):
    with pytest.raises(InputError, match="two runs are named seed-0"):
        pooled([runs[0], runs[0]])
    table = pd.read_csv(runs[1] / "metrics" / "metrics.csv")
    write(runs[1], table[table["method"] != "tv"])
    with pytest.raises(InputError, match="seed-1 has other values of method than seed-0"):
        pooled(runs)
    with pytest.raises(InputError, match="no method csrd"):
        checks(pooled(runs[:1]).query("method != 'csrd'"))

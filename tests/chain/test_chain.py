"""The whole way, run for real: virtual subjects to Table 1, then the same scans again as a user's own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from csrd.io.files import read_json
from csrd.io.volume import Volume
from tests.align.head_phantom import displacement_mm

SUBJECTS = ["sub-01", "sub-02", "sub-03"]
TEST_SUBJECT = "sub-03"
METHODS = ["lowdose", "tv", "unet", "restormer", "unet3d", "csrd", "csrdnomr"]
CONFIG = "--configfile", "config/test.yaml"
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


def test_table_and_report(results):
    table = pd.read_csv(results / "tables" / "table1.csv", index_col="method")
    assert list(table.index) == [*METHODS, "normal", "truth", "oracle", "painted"]
    assert (table["n"].drop("normal") == 2).all() and np.isfinite(table.loc[METHODS].to_numpy()).all()
    assert (
        table.loc["oracle", "psnr_mean"] > table.loc["truth", "psnr_mean"] > table.loc["painted", "psnr_mean"]
    )
    assert table.loc[["lowdose", "oracle"], "oracle_share"].tolist() == [0, 1]
    assert table.loc["lowdose", "hot_recovery"] > table.loc["painted", "hot_recovery"]
    assert table.loc["tv", "mae_mean"] < table.loc["lowdose", "mae_mean"]
    by_dose = pd.read_csv(results / "tables" / "table1_by_dose.csv").set_index(["drf", "method"])
    assert by_dose.loc[(4, "lowdose"), "psnr_mean"] > by_dose.loc[(10, "lowdose"), "psnr_mean"]
    assert all((results / "tables" / f"table1.{kind}").stat().st_size for kind in ("md", "tex", "html"))
    report = (results / "report.html").read_text()
    assert TEST_SUBJECT in report and "data:image/png;base64" in report
    pages = [path.name for path in (results / "pages").iterdir()]
    assert pages == [f"{TEST_SUBJECT}_drf-10_csrd.html"] and f'"pages/{pages[0]}"' in report
    page = (results / "pages" / pages[0]).read_text()
    assert "After minus normal dose" in page and "putamen" in page and "90 % interval" in page


def test_the_truth_is_compared_with(results):
    normal, truth = (
        pd.read_csv(results / "tables" / f"{name}.csv", index_col="method")
        for name in ("table1", "table1_truth")
    )
    assert list(truth.index) == [*METHODS, "normal", "painted"] and np.isfinite(truth.to_numpy()).all()
    assert truth.loc["tv", "mae_mean"] != normal.loc["tv", "mae_mean"]
    regions = pd.read_csv(results / "metrics" / "regions.csv")
    large = regions[(regions["region"] == "white_matter") & (regions["target"] == "truth")].set_index(
        "method"
    )
    assert large.loc["normal", "mean"] == pytest.approx(large.loc["normal", "target_mean"], rel=0.15)
    report = (results / "report.html").read_text()
    assert all(f'id="{part}"' in report for part in ("truth", "regions", "lesions"))


def test_noise_over_new_thinnings(results, snakemake):
    """Two draws: the low dose has no more bias than the normal dose has, and deviates by its noise."""
    snakemake("--cores", "all", "noise", *CONFIG)
    table = pd.read_csv(results / "tables" / "noise.csv").set_index(["method", "region"])
    assert list(dict.fromkeys(table.index.get_level_values("method"))) == METHODS
    low = table.loc["lowdose"]
    assert (low["draws"] == 2).all() and (low["voxel_sd"] > 0).all()
    assert (table.loc["tv", "voxel_sd"] < low["voxel_sd"]).all()
    assert not list((results / "draws").rglob("*_listmode.l64*")), "thinned list-mode is temporary"


def test_metrics_name_their_rows(results):
    metrics = pd.read_csv(results / "metrics" / "metrics.csv")
    rows = {(row.subject, row.drf, row.method) for row in metrics.itertuples()}
    named = [*METHODS, "truth", "oracle", "painted"]
    assert rows == {(TEST_SUBJECT, drf, method) for drf in (4, 10) for method in named}


@pytest.mark.parametrize("drf", [1, 4, 10])
def test_images_are_calibrated_at_every_dose(results, drf):
    truth = Volume.load(results / "raw" / TEST_SUBJECT / "truth" / f"{TEST_SUBJECT}_activity.nii.gz")
    pet = Volume.load(results / "recon" / TEST_SUBJECT / f"{TEST_SUBJECT}_drf-{drf}_pet.nii.gz")
    activity, expected = (v.array.sum() * np.prod(v.voxel_mm) for v in (pet, truth))
    assert activity == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", SUBJECTS)
def test_mr_is_registered(results, name):
    """The found transform against the simulated one, on average over the brain: a third of a coarse voxel.

    `benchmarks/registration_error.py` measures the default cohort, where it is below 1 mm.
    """
    truth = read_json(results / "raw" / name / "truth" / f"{name}_mrToPet.json")["matrix"]
    found = read_json(results / "derivatives" / "csrd" / name / "anat" / f"{name}_from-T1w_to-pet_xfm.json")
    brain = Volume.load(results / "raw" / name / "truth" / f"{name}_brainmask.nii.gz", unit="mask")
    points = np.argwhere(brain.array > 0) @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    true_matrix = np.linalg.inv(truth)
    assert displacement_mm(true_matrix, np.eye(4), points).mean() > 3, "there was something to register"
    assert displacement_mm(true_matrix, np.array(found["RegistrationMatrix"]), points).mean() < 4.875 / 3


def test_files_are_where_the_house_says(results):
    for name in SUBJECTS:
        raw, derived = results / "raw" / name, results / "derivatives" / "csrd" / name
        for file in ("listmode.l64", "listmode.l64.hdr", "T1w.nii.gz", "mumap.nii.gz", "normalisation.npy"):
            assert (raw / f"{name}_{file}").exists()
        assert read_json(raw / f"{name}_subject.json")["tracer"] == "DASB"
        assert (derived / "anat" / f"{name}_space-pet_desc-preproc_T1w.json").exists()
        assert (derived / "pet" / f"{name}_trc-DASB_rec-acstatDrf10_desc-lowdose_pet.nii.gz").exists()
        assert (results / "figures" / "registration" / f"{name}.png").exists()
    assert not list(results.rglob("*_drf-*_listmode.l64*")), "thinned list-mode is temporary"
    assert not list(results.rglob("*_part[0-9]*")), "a part of a file was left"


def assert_is_bids(folder: Path) -> None:
    """Hold a folder of derivatives to the BIDS validator."""
    done = subprocess.run([VALIDATOR, "--format", "json", folder], capture_output=True, text=True)
    found = json.loads(done.stdout)["issues"]["issues"]
    assert done.returncode == 0 and not [issue for issue in found if issue["severity"] == "error"], found
    assert "README_FILE_MISSING" not in {issue["code"] for issue in found}


def test_derivatives_are_bids(results):
    assert_is_bids(results / "derivatives" / "csrd")
    readme = (results / "derivatives" / "csrd" / "README").read_text()
    assert "- InjectedMass\n" in readme and "- Units" not in readme, "only what was not given"
    assert "InjectedMass" in (results / "report.html").read_text()


def test_every_rule_left_a_log_and_a_benchmark(results):
    logs, benchmarks = (
        {path.relative_to(results / kind).with_suffix("") for path in (results / kind).rglob("*.*")}
        for kind in ("logs", "benchmarks")
    )
    assert logs == benchmarks and len(logs) > 30


def test_second_run_has_nothing_to_do(results, snakemake):
    assert "Nothing to be done" in snakemake("--cores", "all", *CONFIG).stdout


def test_the_gpu_resource_is_how_many_processes_train_together(results, snakemake, study):
    """Two, on the same aligned images: the sums have another order, the weights are close."""
    together = study / "results-together"
    together.mkdir()
    for name in ("raw", "recon", "derivatives", "figures"):
        (together / name).symlink_to(results / name)
    model = Path("models", "csrdnomr", "weights.safetensors")
    target = f"results-together/{model.with_name('model.json')}"
    how = "--allowed-rules", "fit", "--set-resources", "fit:gpu=2", "--resources", "gpu=2"
    done = snakemake(target, "--cores", "2", *how, *CONFIG, "--config", "results_dir=results-together")
    assert re.findall(r"^Job \d+: (.*)$", done.stdout, flags=re.MULTILINE) == ["csrdnomr: fit"]
    one, two = (load_file(folder / model) for folder in (results, together))
    assert any(not torch.equal(two[name], one[name]) for name in one), "one process trained"
    for name in one:
        assert (two[name] - one[name]).norm() < 0.1 * one[name].norm(), name


def test_own_subjects_by_an_outside_command(results, snakemake, study):
    """Two virtual scans as a user's own; the stand-in command hands over their images, unscaled."""
    columns = "participant_id split tracer listmode header t1w mumap normalisation weight_kg injected_MBq"
    rows = [columns.split()]
    for name, split in (("sub-01", "train"), ("sub-03", "test")):
        raw = f"{results}/raw/{name}/{name}"
        files = f"{raw}_listmode.l64", "n/a", f"{raw}_T1w.nii.gz", f"{raw}_mumap.nii.gz", "n/a"
        rows.append([f"sub-Own{name[-1]}", split, "DASB", *files, "n/a", "n/a"])
    (study / "own.tsv").write_text("\n".join(map("\t".join, rows)) + "\n")
    (study / "stand_in.py").write_text(
        "import re, sys\nfrom csrd.io.volume import Volume\n"
        "listmode, drf, output = sys.argv[1:]\n"
        "name = re.search(r'sub-Own(.)', listmode)[1]\n"
        f"pet = Volume.load(f'{results}/recon/sub-0{{name}}/sub-0{{name}}_drf-{{drf}}_pet.nii.gz')\n"
        "pet.like(pet.array / float(drf)).save(output)\n"
    )
    command = {
        "run": f"'{sys.executable}' stand_in.py {{listmode}} {{drf}} {{output}}",
        "scales_dose": "csrd",
        "unit": "Bq/mL",
    }
    own = {"results_dir": "results-own", "drfs": [4], "methods": ["lowdose"], "cohort": {"sheet": "own.tsv"}}
    own["recon"] = {"engine": "command", "command": command}
    (study / "own.yaml").write_text(yaml.safe_dump(own))
    files = "results-own/tables/table1.md", "--configfile", "config/test.yaml", "own.yaml"
    snakemake("--cores", "all", *files)

    own, virtual = (
        pd.read_csv(folder / "metrics" / "metrics.csv").set_index(["drf", "method"])
        for folder in (study / "results-own", results)
    )
    assert (own["subject"] == "sub-Own3").all()
    assert own.loc[(4, "lowdose"), "psnr"] == pytest.approx(virtual.loc[(4, "lowdose"), "psnr"], abs=0.1)
    assert re.search(r"MAE \(kBq/mL\)", (study / "results-own" / "tables" / "table1.md").read_text())
    assert (study / "results-own" / "raw" / "sub-Own3" / "sub-Own3_listmode.l64").is_symlink()
    assert "Nothing to be done" in snakemake("--cores", "all", *files).stdout


def test_own_images_and_a_lone_low_dose(results, snakemake, study):
    """Images of two virtual scans as a user's own, and a third low dose alone, on a grid of its own."""
    folder = study / "own-images"
    for name in ("sub-01", "sub-03"):
        for drf in (1, 4):
            pet = Volume.load(results / "recon" / name / f"{name}_drf-{drf}_pet.nii.gz")
            pet.save(folder / f"{name}_drf-{drf}.nii.gz")
    low = Volume.load(folder / "sub-03_drf-4.nii.gz")
    odd = Volume(low.array[3:-4, 2:, :-5], low.affine, "Bq/mL")
    odd.save(folder / "odd.nii.gz")
    (folder / "odd.json").write_text(json.dumps({"TracerName": "DASB", "Units": "Bq/mL"}))
    mrs = {name: results / "raw" / name / f"{name}_T1w.nii.gz" for name in ("sub-01", "sub-03")}
    rows = [
        ["participant_id", "split", "pet", "pet_drf4", "t1w", "weight_kg", "injected_MBq"],
        ["sub-Img1", "train", "sub-01_drf-1.nii.gz", "sub-01_drf-4.nii.gz", mrs["sub-01"], "60", "500"],
        ["sub-Img3", "test", "sub-03_drf-1.nii.gz", "sub-03_drf-4.nii.gz", mrs["sub-03"], "70", "550"],
        ["sub-Low3", "n/a", "n/a", "odd.nii.gz", mrs["sub-03"], "n/a", "n/a"],
        ["sub-Low4", "n/a", "n/a", "odd.nii.gz", "n/a", "n/a", "n/a"],
    ]
    (folder / "subjects.tsv").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    models, methods = results / "models", ["lowdose", "csrd", "csrdnomr"]
    cohort = {"sheet": str(folder / "subjects.tsv"), "units": "Bq/mL", "models": str(models)}
    own = {"results_dir": "results-images", "drfs": [4], "methods": methods, "cohort": cohort}
    (study / "images.yaml").write_text(yaml.safe_dump(own))
    files = "config/test.yaml", "images.yaml"
    done = snakemake("--cores", "all", "--configfile", *files)
    assert not re.search(r"^(thin|reconstruct|fit|acquire) ", done.stdout, re.MULTILINE)

    out = study / "results-images"
    table = (out / "tables" / "table1.md").read_text()
    assert "MAE (SUV)" in table, "weight and activity are known of all that are compared"
    metrics = pd.read_csv(out / "metrics" / "metrics.csv").set_index(["subject", "method"])
    assert set(metrics.index) == {("sub-Img3", method) for method in methods}
    virtual = pd.read_csv(results / "metrics" / "metrics.csv").set_index(["subject", "drf", "method"])
    expected = virtual.loc[(TEST_SUBJECT, 4, "csrd"), "psnr"]
    assert metrics.loc[("sub-Img3", "csrd"), "psnr"] == pytest.approx(expected, abs=0.2)
    for name, made in (("sub-Low3", {"csrd", "csrdnomr"}), ("sub-Low4", {"csrdnomr"})):
        pets = (out / "derivatives" / "csrd" / name / "pet").glob("*_pet.nii.gz")
        images = {re.search("desc-(.*)_pet", path.name)[1]: Volume.load(path) for path in pets}
        assert set(images) == made | {f"{method}Std" for method in made}
        assert all(image.same_grid(odd) and image.unit == "Bq/mL" for image in images.values())
    assert (out / "figures" / "registration" / "sub-Low3.png").exists()
    assert_is_bids(out / "derivatives" / "csrd")
    assert "Nothing to be done" in snakemake("--cores", "all", "--configfile", *files).stdout

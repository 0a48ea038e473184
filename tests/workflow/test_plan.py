"""The plan that `snakemake -n` shows, and what a user sees of a mistake."""

import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import yaml

from csrd.io.volume import Volume

RULES = {
    "simulate_anatomy": "subjects",
    "acquire": "subjects",
    "thin": "subjects x drfs",
    "estimate_scatter": "subjects",
    "reconstruct": "subjects x all",
    "align": "subjects",
    "fit": "networks",
    "tune": "one",
    "denoise": "tests x without std",
    "denoise_with_std": "tests x with std",
    "evaluate": "tests",
    "match_truth": "tests",
    "evaluate_truth": "tests",
    "regions": "tests",
    "oracle": "tests",
    "painted": "tests",
    "lesions": "tests",
    "table1": "one",
    "record_run": "one",
    "scan_page": "tests",
    "report": "one",
}


@pytest.mark.parametrize(
    ("configfile", "subjects", "tests", "drfs", "networks"),
    [
        ("config.yaml", 8, 2, 4, 5),
        ("test.yaml", 3, 1, 2, 5),
        ("quick.yaml", 4, 1, 2, 5),
        ("paper.yaml", 27, 7, 4, 4),
    ],
)
def test_plan(snakemake, configfile, subjects, tests, drfs, networks):
    # paper.yaml's VGG-19 is nothing that a test downloads
    settings = "results_dir=results-plan", "metrics={vgg: vgg16}"
    arguments = "--configfile", f"config/{configfile}", "--config", *settings
    plan = snakemake("--cores", "all", "-n", *arguments).stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
    expected = {
        "subjects": subjects,
        "subjects x drfs": subjects * drfs,
        "subjects x all": subjects * (drfs + 1),
        "tests": tests,
        "networks": networks,
        "tests x without std": tests * (networks - 1),
        "tests x with std": tests * 2,
        "one": 1,
    }
    assert {rule: int(jobs[rule]) for rule in RULES} == {rule: expected[key] for rule, key in RULES.items()}


def test_a_plan_waits_for_no_heavy_library(snakemake, monkeypatch):
    """`benchmarks/plan.py` measures how long a plan takes; torch alone would double it."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    said = snakemake("-n", "--cores", "1", "--config", "results_dir=results-plan").stdout
    loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", said, flags=re.MULTILINE))
    assert {"csrd.config", "csrd.cohort"} <= loaded
    assert not loaded & {"torch", "scipy", "numba", "nibabel", "matplotlib", "ants", "skimage", "safetensors"}


def test_methods_with_a_standard_deviation_are_checked(snakemake):
    settings = "results_dir=results-plan", "methods=[lowdose, tv, csrd, csrdnomr]"
    plan = snakemake("--cores", "1", "-n", "--configfile", "config/test.yaml", "--config", *settings).stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
    once = ("merge_coverage", "figure_reliability", "figure_training", "figure_std", "statistics")
    assert {rule: int(jobs[rule]) for rule in once} == dict.fromkeys(once, 1)
    assert int(jobs["coverage"]) == 2
    settings = settings[0], "methods=[lowdose, tv]"
    plan = snakemake("--cores", "1", "-n", "--configfile", "config/test.yaml", "--config", *settings).stdout
    assert "figure_errors" in plan and "figure_doses" in plan and not any(rule in plan for rule in once)


def test_noise_thins_one_subject_anew(snakemake):
    settings = "results_dir=results-plan", "train_thinnings=1"
    arguments = "--configfile", "config/config.yaml", "--config", *settings
    plan = snakemake("--cores", "1", "-n", "noise", *arguments).stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
    wanted = {"thin_again": 5, "reconstruct_again": 5, "crop_again": 5, "denoise_again": 6, "noise": 1}
    assert {rule: int(jobs[rule]) for rule in wanted} == wanted and "evaluate" not in jobs


def test_a_training_scan_is_thinned_several_times(snakemake):
    """At the training doses, of training subjects, for learned methods alone."""
    arguments = (
        "--configfile",
        "config/test.yaml",
        "--config",
        "results_dir=results-plan",
        "train_thinnings=3",
    )
    for methods, again in (("[lowdose, unet]", 2), ("[lowdose, tv]", 0)):
        plan = snakemake("--cores", "1", "-n", *arguments, f"methods={methods}").stdout
        jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
        wanted = {"thin": 6, "thin_again": again, "reconstruct_again": again, "crop_again": again}
        assert {rule: int(jobs.get(rule, 0)) for rule in wanted} == wanted


def test_dynamic_says_which_setting_it_needs(snakemake):
    done = snakemake("dynamic", "-n", "--cores", "1", "--config", "results_dir=results-plan", check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("csrd: ")]
    assert done.returncode != 0 and len(said) == 1 and "add acquisition: {frames: [60, " in said[0]
    assert "Traceback" not in done.stdout and "Exception" not in done.stdout


def test_dynamic_has_a_plan_with_settings_of_kinetics(snakemake):
    arguments = "dynamic", "-n", "--cores", "1", "--configfile", "config/dynamic_test.yaml"
    kinetics = "kinetics={model: logan, t_star: 60, exclude_frames: [6], reference: pons}"
    plan = snakemake(*arguments, "--config", "results_dir=results-plan", kinetics).stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
    wanted = {"tune_filters": 1, "measure_binding": 1, "dynamic": 1, "reconstruct_repeat": 12}
    assert {rule: int(jobs[rule]) for rule in wanted} == wanted


def test_outside_command_needs_no_sensitivity(snakemake):
    files = "config/test.yaml", "config/recon/command.yaml"
    arguments = "--configfile", *files, "--config", "results_dir=results-plan"
    plan = snakemake("--cores", "1", "-n", *arguments).stdout
    assert "sensitivity" not in plan and "estimate_scatter" not in plan
    assert re.search(r"^reconstruct +9$", plan, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("recno={}", "csrd: the configuration has no key recno (did you mean recon?)"),
        ("drfs=[4, five]", "csrd: drfs[1] is 'five'; it must be a valid"),
        ("cohort={sheet: none.tsv}", "csrd: none.tsv is not a readable table"),
        (
            "metrics={vgg: vgg19, weights: nowhere}",
            "csrd: the VGG-19 weights are missing; run: csrd weights vgg19 nowhere",
        ),
        pytest.param(
            "results_dir=/proc/results",
            "csrd: cannot write /proc/results/report.html: /proc: ",
            marks=pytest.mark.linux,
        ),
        (
            "cohort={models: packaged}",
            "csrd: cohort.models is packaged, and the package has no model of tv, unet",
        ),
        ("cohort={t1w: nowhere}", "csrd: cohort.t1w is nowhere, which holds 0 NIfTI images for 8 subjects"),
    ],
)
def test_mistake_in_the_configuration(snakemake, settings, sentence):
    done = snakemake("--cores", "1", "-n", "--config", settings, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("csrd: ")]
    assert done.returncode != 0 and len(said) == 1 and said[0].startswith(sentence)
    assert "Traceback" not in done.stdout and "Exception" not in done.stdout


def test_every_rule_says_what_it_takes():
    """A scheduler asks; what a failed attempt is given more of depends on the attempt."""
    files = (Path(__file__).parents[2] / "workflow" / "rules").glob("*.smk")
    blocks = [
        block for file in files for block in re.split(r"^ *(?=rule |use rule )", file.read_text(), flags=re.M)
    ]
    rules = [block for block in blocks if block.startswith("rule ")]
    assert len(rules) > 20
    for rule in rules:
        assert re.search(r"^ +threads: \d", rule, flags=re.M), rule
        assert re.search(r"^ +runtime=growing\(", rule, flags=re.M), rule
        assert re.search(r"^ +mem_mb=(growing\(|.*attempt \*)", rule, flags=re.M), rule


def test_the_profile_of_slurm(snakemake):
    """It is understood, and gives resources to rules that exist; tests/cluster runs it."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    named = "--workflow-profile", "workflow/profiles/slurm", "--configfile", "config/test.yaml"
    plan = snakemake("-n", *named, "--config", "results_dir=results-plan").stdout
    jobs = set(re.findall(r"^(\w+) +\d+$", plan, flags=re.MULTILINE))
    workflow = Path(__file__).parents[2] / "workflow"
    profile = yaml.safe_load((workflow / "profiles" / "slurm" / "profile.yaml").read_text())
    written = "".join(path.read_text() for path in (workflow / "rules").glob("*.smk"))
    rules = set(re.findall(r"^ *(?:use rule \w+ as|rule) (\w+)", written, flags=re.MULTILINE))
    kinds = "denoise_alone", "denoise_scan"  # of a low dose only, of a scan as it is: not in this plan
    alone = {f"{kind}{suffix}" for kind in kinds for suffix in ("", "_with_std")}
    assert alone <= rules and set(profile["set-resources"]) - alone <= jobs
    assert "--signal=TERM@" in profile["set-resources"]["fit"]["slurm_extra"]


def test_the_profile_of_a_gpu_gives_it_to_rules_that_exist():
    workflow = Path(__file__).parents[2] / "workflow"
    profile = yaml.safe_load((workflow / "profiles" / "gpu" / "profile.yaml").read_text())
    written = "".join(path.read_text() for path in (workflow / "rules").glob("*.smk"))
    rules = set(re.findall(r"^ *(?:use rule \w+ as|rule) (\w+)", written, flags=re.MULTILINE))
    assert {"fit", "reconstruct"} <= set(profile["set-resources"]) <= rules
    assert all(resources == {"gpu": 1} for resources in profile["set-resources"].values())


def test_only_low_doses_and_the_packaged_models(snakemake, study):
    """No normal dose, nothing to fit, no table: the images, the registration, and their description."""
    pet = np.zeros((9, 9, 9), np.float32)
    pet[2:7, 2:7, 2:7] = 1
    Volume(pet, np.eye(4)).save(study / "lone" / "low.nii.gz")
    (study / "lone" / "s.tsv").write_text(
        "participant_id\tpet_drf6\tt1w\nsub-1\tlow.nii.gz\tlow.nii.gz\nsub-2\tlow.nii.gz\tn/a\n"
    )
    settings = "results_dir=results-lone", "methods=[lowdose, csrd, csrdnomr]"
    cohort = "cohort={sheet: lone/s.tsv, models: packaged}"
    plan = snakemake("--cores", "1", "-n", "--config", *settings, cohort).stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
    expected = {
        "import_low_dose": 2,
        "import_t1w": 1,
        "bring_model": 2,
        "align_alone": 1,
        "denoise_alone_with_std": 3,
        "scan_page_alone": 2,
        "describe_derivatives": 1,
        "all": 1,
        "total": 13,
    }
    assert {rule: int(number) for rule, number in jobs.items()} == expected


def test_a_virtual_cohort_with_fitted_models_has_test_subjects_alone(snakemake):
    settings = "results_dir=results-models", "methods=[lowdose, csrd, csrdnomr]"
    cohort = "cohort={models: packaged, train: 0, validation: 0, test: 2}"
    plan = snakemake("--cores", "1", "-n", "--config", *settings, cohort).stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
    wanted = {"simulate_anatomy": 2, "acquire": 2, "align": 2, "bring_model": 2, "evaluate": 2, "report": 1}
    assert {rule: int(jobs.get(rule, 0)) for rule in wanted} == wanted and "fit" not in jobs


def test_scans_of_other_scanners_tell_theirs(snakemake, study):
    image = np.zeros((9, 9, 9), np.float32)
    image[2:7, 2:7, 2:7] = 0.096
    Volume(image, np.eye(4)).save(study / "petsird" / "image.nii.gz")
    for name in ("a.petsird", "b.l64", "b.l64.hdr", "c.l", "c.l.hdr"):
        (study / "petsird" / name).touch()
    (study / "petsird" / "s.tsv").write_text(
        "participant_id\tsplit\tlistmode\tt1w\tmumap\n"
        "sub-1\ttrain\ta.petsird\timage.nii.gz\timage.nii.gz\n"
        "sub-2\ttest\tb.l64\timage.nii.gz\timage.nii.gz\n"
        "sub-3\ttrain\tc.l\timage.nii.gz\timage.nii.gz\n"
    )
    settings = (
        "results_dir=results-petsird",
        "cohort={sheet: petsird/s.tsv}",
        "drfs=[4, 10]",
        "train_drfs=[4]",
    )
    plan = snakemake("--cores", "1", "-n", "--config", *settings, "methods=[lowdose, tv]").stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
    expected = {
        **{"import_petsird": 1, "import_listmode": 2, "import_corrections": 3},
        **{"thin_petsird": 2, "thin": 4, "reconstruct": 9},
        **{"estimate_scatter": 3},
        **{"scanner_sensitivity": 2, "geometric_sensitivity": 1, "subject_sensitivity": 3},
    }
    assert {rule: int(jobs.get(rule, 0)) for rule in expected} == expected
    assert "petsird.hdr" not in plan, "PETSIRD carries its header"


def test_lint(snakemake):
    assert "Congratulations" in snakemake("--lint", "--configfile", "config/test.yaml").stdout


def test_no_script_hides_a_module():
    """Scripts stand on the path of their jobs; numba, for one, imports `coverage` where it finds one."""
    scripts = {path.stem for path in (Path(__file__).parents[2] / "workflow" / "scripts").glob("*.py")}
    modules = (
        set(sys.stdlib_module_names) | set(packages_distributions()) | {"coverage", "typeguard", "IPython"}
    )
    assert len(scripts) > 15 and not scripts & modules


def test_every_profile_does_again_what_was_killed():
    profiles = list((Path(__file__).parents[2] / "workflow" / "profiles").glob("*/profile.yaml"))
    assert profiles and all(yaml.safe_load(path.read_text())["rerun-incomplete"] for path in profiles)

"""The configuration: its defaults, its schema, and the one line that each mistake gets."""

import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from csrd.config import load, load_apart, schema
from csrd.errors import InputError

REPOSITORY = Path(__file__).parents[2]
COMMAND = {"run": "recon {listmode} {output}", "scales_dose": "csrd", "unit": "Bq/mL"}


def without(key: str) -> dict:
    """Return the settings of a command without one of them."""
    return {name: value for name, value in COMMAND.items() if name != key}


def settings(name: str) -> dict:
    return yaml.safe_load((REPOSITORY / "config" / name).read_text())


def test_config_yaml_states_every_default():
    stated = settings("config.yaml")
    assert load(stated) == load({})
    assert stated.keys() == type(load({})).model_fields.keys()
    for key, value in load({}):
        if hasattr(value, "model_fields_set") and key not in ("csrdnomr", "mronly"):
            assert stated[key].keys() == type(value).model_fields.keys(), key


@pytest.mark.parametrize(
    "name", ["paper.yaml", "test.yaml", "quick.yaml", "workstation.yaml", "recon/command.yaml"]
)
def test_shipped_files_load(name):
    assert load(settings(name)) != load({})


def test_paper_has_the_papers_numbers():
    paper = load(settings("paper.yaml"))
    assert paper.recon.matrix == (256, 256, 207) and paper.recon.voxel_mm == 1.21875
    assert paper.align.shape == (160, 160, 160)
    assert paper.cohort.train + paper.cohort.validation == 20 and paper.cohort.test == 7
    assert paper.acquisition.duration_s == 90 * 60
    assert paper.metrics.vgg == "vgg19" and paper.metrics.protocol == "default"


def test_paper_preset_is_the_papers_network_and_edms_defaults():
    paper, ours = load(settings("paper.yaml")), load({})
    assert paper.csrd.network == "ddpmpp" and paper.csrd.channels == (64, 128, 128, 128)
    assert paper.csrd.training.steps == 65_000 and paper.csrd.training.batch == 16
    assert paper.csrd.training.lr == 0.002 and paper.csrd.patch == 64
    assert paper.csrd.sampler.steps == 50, "99 evaluations: the paper's 100"
    for baseline in (paper.unet, paper.restormer):
        assert baseline.channels == 64
        assert (baseline.training.steps, baseline.training.batch, baseline.training.lr) == (65_000, 16, 0.002)
    assert len(paper.restormer.blocks) == 4 and paper.restormer.stem == 1
    assert paper.csrdnomr.model_dump() == paper.csrd.model_dump() != ours.csrd.model_dump()


def test_a_block_keeps_the_methods_own_defaults():
    config = load({"unet": {"training": {"steps": 5}}, "csrd": {"training": {"lr": 0.01}}})
    assert config.unet.training == load({}).unet.training.model_copy(update={"steps": 5})
    assert config.csrd.training == load({}).csrd.training.model_copy(update={"lr": 0.01})
    assert config.csrdnomr.training == config.csrd.training


def test_without_mr_is_like_with_it_but_for_what_differs():
    config = load({"csrd": {"patch": 24, "sampler": {"steps": 7}}, "csrdnomr": {"sampler": {"rho": 5}}})
    assert config.csrdnomr.patch == 24
    assert config.csrdnomr.sampler.steps == 7 and config.csrdnomr.sampler.rho == 5
    assert config.csrd.sampler.rho == 3
    with pytest.raises(InputError, match=r"no key csrdnomr\.patchh .*csrdnomr\.patch\?"):
        load({"csrdnomr": {"patchh": 3}})


def test_the_schema_takes_every_configuration_and_refuses_an_unknown_key():
    checker = jsonschema.Draft202012Validator(yaml.safe_load(schema()))
    for path in REPOSITORY.glob("config/**/*.yaml"):
        checker.validate(yaml.safe_load(path.read_text()))
    assert not checker.is_valid({"recno": {}}) and not checker.is_valid({"recon": {"voxel_mm": "wide"}})


def test_dumped_configuration_loads_again():
    config = load({"recon": {"engine": "command", "command": COMMAND}})
    assert load(config.model_dump(mode="json")) == config


def test_number_without_a_dot_is_a_number():
    assert load(yaml.safe_load("recon: {subject_lines: 1e7}")).recon.subject_lines == 10_000_000


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"recno": {}}, r"no key recno \(did you mean recon\?\)"),
        ({"recon": {"voxl_mm": 2}}, r"no key recon.voxl_mm \(did you mean recon.voxel_mm\?\)"),
        ({"recon": {"psf": {"x": 2}}}, "no key recon.psf.x; the keys there are sigma_mm, tail_sigma_mm"),
        ({"recon": {"voxel_mm": -1}}, "recon.voxel_mm is -1; it must be greater than 0"),
        ({"recon": {"voxel_mm": float("nan")}}, "recon.voxel_mm is nan; it must be a finite number"),
        ({"recon": {"voxel_mm": "wide"}}, "recon.voxel_mm is 'wide'; it must be a valid number"),
        ({"recon": {"matrix": [96, 96]}}, r"recon.matrix\[2\]"),
        ({"recon": {"matrix": [96, 96.5, 96]}}, r"recon.matrix\[1\] is 96.5; it must be a valid integer"),
        ({"recon": None}, "recon is None; it must be a block of keys: engine, command"),
        ({"recon": {"engine": "comand"}}, "recon.engine is 'comand'; it must be 'embedded' or 'command'"),
        ({"recon": {"engine": "command"}}, "recon.command is null; see config/recon/command.yaml"),
        ({"recon": {"command": COMMAND | {"unit": "counts"}}}, "recon.command.unit is"),
        ({"recon": {"command": COMMAND | {"run": "recon {listmode}"}}}, r"it lacks \{output\}"),
        (
            {"recon": {"command": COMMAND | {"run": "{lm} {listmode} {output}"}}},
            r"\{lm\} is not a placeholder",
        ),
        (
            {"recon": {"command": COMMAND | {"run": "{listmode} {drf!r} {output}"}}},
            "drf. takes no format",
        ),
        ({"recon": {"command": COMMAND | {"run": "'{listmode} {output}"}}}, "no closing quotation"),
        ({"recon": {"command": COMMAND | {"interfile_axes": "XYZ"}}}, "interfile_axes is 'XYZ'"),
        ({"recon": {"command": COMMAND | {"export": "yrt"}}}, r"export is yrt, but run lacks \{export\}"),
        (
            {"recon": {"command": COMMAND | {"run": "x {export} {listmode} {output}"}}},
            r"run has \{export\}, but export is null",
        ),
        ({"recon": {"command": COMMAND | {"calibration": 2}}}, "calibration is given, but unit is Bq/mL"),
        ({"drfs": [0, 4]}, r"drfs\[0\] is 0; it must be greater than or equal to 2"),
        ({"drfs": []}, r"drfs is \[\]; it must have at least 1 item"),
        ({"results_dir": "{a}"}, "results_dir is '{a}'; it must match"),
        ({"drfs": [4, 4], "train_drfs": [4]}, "4 is listed twice"),
        ({"drfs": [4, 10]}, "train_drfs has 6, which drfs lacks"),
        ({"methods": ["lowdose", "tvv"]}, r"no method tvv \(did you mean tv\?\); choose from lowdose, tv"),
        ({"methods": ["TV"]}, "there is no method TV"),
        ({"cohort": {"train": -1}}, "cohort.train is -1; it must be greater than or equal to 0"),
        ({"cohort": {"test": 0}}, "cohort.test is 0"),
        (
            {"align": {"shape": [80, 200, 80]}},
            r"^align.shape \[80, 200, 80\] exceeds recon.matrix \[88, 104, 88\]",
        ),
        ({"csrd": {"patch": 30}}, r"^csrd: patch is 30; this network needs a multiple of 8"),
        ({"csrd": {"dropout": 0.13}}, "^csrd: dropout is 0.13, but resunet has none; leave it out, or set"),
        ({"csrd": {"dose": False}}, "^csrd: dose is false, but resunet always has it as an input; leave it"),
        (
            {"csrd": {"sampler": {"sigma_min": 2}}},
            r"^csrd.sampler: sigma_min 2.0 is not below sigma_max 1.0; lower",
        ),
        ({"metrics": {"vgg": "vgg"}}, "metrics.vgg is 'vgg'; it must be 'vgg16' or 'vgg19'"),
        ({"metrics": {"lpips": True}}, "LPIPS was not calibrated for; set metrics.vgg: vgg19"),
        ({"restormer": {"channels": 20}}, "restormer.channels is 20; it must be a multiple of 8"),
        (
            {"recon": {"command": {"run": COMMAND["run"], "unit": "Bq/mL"}}},
            "lacks recon.command.scales_dose; add it",
        ),
        (
            {"recon": {"command": {"run": COMMAND["run"], "scales_dose": "csrd"}}},
            "lacks recon.command.unit; add it",
        ),
        ({"seed": "x", "results_dir": ""}, r"\(and 1 more\)"),
    ],
)
def test_mistake_gets_one_line(values, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        load(values)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_path_is_no_configuration():
    with pytest.raises(InputError, match="the configuration is 'config.yaml'; it must be a block of keys"):
        load("config.yaml")


def test_configuration_is_read_without_heavy_packages():
    heavy = "numba|scipy|nibabel|ants|skimage|matplotlib|pandas|torch|monai|safetensors"
    source = "import sys, csrd.config, csrd.cohort; csrd.config.load({}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    assert not [name for name in loaded.split() if re.fullmatch(heavy, name)]


def test_doses_that_share_events_are_not_mixed():
    with pytest.raises(
        InputError, match="thin.nested is true, but csrd.mixed needs doses of independent noise"
    ):
        load({"thin": {"nested": True}, "csrd": {"mixed": 0.3}})
    assert load({"thin": {"nested": True}}).thin.nested


def test_one_stage_alone_demands_nothing_of_another():
    small = {"recon": {"matrix": [40, 36, 36]}}
    assert load_apart(small).recon.matrix == (40, 36, 36)
    with pytest.raises(InputError, match="exceeds recon.matrix"):
        load(small)


@pytest.mark.parametrize(
    "block, said",
    [
        ({"model": "logan"}, "give t_star in s"),
        ({"t_star": 900}, "remove k2prime and t_star"),
        ({"labels": "truth"}, "the subjects are your own"),
    ],
)
def test_a_block_of_kinetics_that_cannot_be(block, said):
    with pytest.raises(InputError, match=said):
        load({"kinetics": block, "cohort": {"bids": "study"}})

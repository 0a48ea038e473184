"""`csrd models`, and the completion of commands by a shell."""

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from csrd.cli import app
from csrd.io.files import read_json, sha256
from csrd.pretrained import FOLDER, KEYS

PROGRAM = "import sys; sys.argv[0] = 'csrd'; from csrd.cli import app; app(prog_name='csrd')"


def said(*words: str) -> str:
    done = CliRunner().invoke(app, ["models", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_model_in_the_package_is_listed():
    there = {path.parent.name for path in FOLDER.glob("*/model.json")}
    lines = [line.split() for line in said().splitlines()]
    assert {words[0] for words in lines} == there == set(KEYS)
    assert all(re.search(r"\d+\.\d million weights", " ".join(words)) for words in lines)


@pytest.mark.parametrize("key", KEYS)
def test_a_card_is_complete_and_true(key):
    card = json.loads(said(key, "--json"))
    assert card == read_json(FOLDER / key / "model.json") and card["method"] == key
    weights = FOLDER / key / card.get("weights", "weights.safetensors")
    assert card["weights_sha256"] == sha256(weights), "the card is of other weights"
    assert json.loads(said("--json"))[key] == card


def test_a_description_has_training_limits_and_card():
    text = said("csrdnomr")
    assert "Not for clinical use" in text and "| trained on |" in text and str(FOLDER / "csrdnomr") in text
    assert "](" not in text, "a link that leads nowhere from a terminal"
    assert json.loads(re.search(r"```json\n(.*)```", text, flags=re.DOTALL)[1])["method"] == "csrdnomr"


def test_a_model_that_is_not_there():
    code = "from csrd.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "models", "unet"], capture_output=True, text=True)
    assert (
        done.returncode == 1
        and done.stderr == "csrd: there is no packaged model unet; choose from csrd, csrdnomr\n"
    )


def completed(shell: str, **variables: str) -> set[str]:
    """Return what a shell is offered for a line."""
    asked = os.environ | {"_CSRD_COMPLETE": f"complete_{shell}"} | variables
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=asked, capture_output=True, text=True)
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


def test_shells_complete_commands_and_options():
    assert {"denoise", "models"} <= completed("bash", COMP_WORDS="csrd ", COMP_CWORD="1")
    assert {"--mr", "--model"} == completed("bash", COMP_WORDS="csrd denoise --m", COMP_CWORD="2")
    fish = completed("fish", _TYPER_COMPLETE_ARGS="csrd th", _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert fish == {"thin"}

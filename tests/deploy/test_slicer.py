"""The module of 3D Slicer, imported without Slicer: its modules are stubs, and no panel was ever shown.

What it calls is real: csrd's own command line parses the words, and a stub of Qt's process runs them.
"""

import importlib.util
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest
import typer

from csrd.cli import app
from csrd.io.volume import Volume
from tests.conftest import REPOSITORY
from tests.docs.conftest import images

MODULE = REPOSITORY / "slicer" / "CSRDDenoise" / "CSRDDenoise.py"
LONGEST = 250  # lines
CSRD = next(
    Path(str(file.locate())).resolve()
    for installed in distributions(name="csrd")
    for file in installed.files or ()
    if file.parts[-2:] == ("bin", "csrd")
)
"""Where it was installed; the environment of `make test-deploy` has its own Python, and shares the rest."""


class Scripted:
    """Slicer's base classes."""

    def __init__(self, *_) -> None:
        self.layout = MagicMock()

    def setup(self) -> None:
        pass


class Process:
    """Qt's process, which is run at once."""

    MergedChannels = 1

    def __init__(self) -> None:
        self.slots, self.output = {}, b""

    def connect(self, signal: str, slot) -> None:
        self.slots[signal.partition("(")[0]] = slot

    def start(self, program: str, words: list[str]) -> None:
        done = subprocess.run([program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = done.stdout
        self.slots["finished"](done.returncode, None)

    def readAll(self):  # noqa: N802, Qt's name
        return MagicMock(data=lambda: self.output)

    def setProcessEnvironment(self, _) -> None:  # noqa: N802
        pass

    def setProcessChannelMode(self, _) -> None:  # noqa: N802
        pass


@pytest.fixture
def module(monkeypatch):
    """Return the module, with stubs for Slicer; volumes are paths, and the scene is a folder's content."""
    names = ("", "Logic", "Widget")
    classes = ModuleType("slicer.ScriptedLoadableModule")
    for name in names:
        setattr(classes, f"ScriptedLoadableModule{name}", type(f"Base{name}", (Scripted,), {}))
    slicer, qt = MagicMock(), MagicMock()
    qt.QProcess = Process
    slicer.util.saveNode = lambda node, path: bool(node.save(path) or True)
    slicer.util.loadVolume = lambda path, _: Volume.load(path)
    for name, stub in {"slicer": slicer, "qt": qt, "ctk": MagicMock(), classes.__name__: classes}.items():
        monkeypatch.setitem(sys.modules, name, stub)
    found = importlib.util.spec_from_file_location("CSRDDenoise", MODULE)
    made = importlib.util.module_from_spec(found)
    found.loader.exec_module(made)
    return made


def test_it_is_short_and_shows_its_panel(module):
    assert len(MODULE.read_text().splitlines()) <= LONGEST
    parent = MagicMock()
    module.CSRDDenoise(parent)
    assert "clinical" in parent.helpText and parent.title
    widget = module.CSRDDenoiseWidget()
    widget.setup()
    assert widget.button.connect.called and not widget.logic.running


@pytest.mark.parametrize("options", [{}, {"drf": 4.0, "units": "SUV", "device": "cpu"}])
def test_its_words_are_those_of_the_command(module, options, tmp_path):
    for name in ("pet", "mr"):
        (tmp_path / f"{name}.nii.gz").touch()
    words = module.command(tmp_path, mr=True, std=True, **options)
    command = typer.main.get_command(app).commands[words[0]]
    given = command.make_context("denoise", words[1:]).params
    assert given["low"] == tmp_path / "pet.nii.gz" and given["mr"] == tmp_path / "mr.nii.gz"
    assert given["std"] == tmp_path / "std.nii.gz" and given["device"].value == options.get("device", "auto")
    assert given["drf"] == options.get("drf") and given["units"] == options.get("units")


def test_a_volume_is_denoised_by_the_program(module):
    _, low, anatomy = images()
    said, shown = [], []
    logic = module.CSRDDenoiseLogic(said.append, shown.append)
    logic.start(str(CSRD), low, mr=anatomy, std=False, drf=4.0, device="cpu")
    assert len(shown) == 1 and shown[0] is not None and shown[0].same_grid(low), said
    assert not logic.running and not logic.folder.exists()


def test_what_is_missing_is_said(module):
    logic = module.CSRDDenoiseLogic(lambda text: None)
    with pytest.raises(ValueError, match="No PET"):
        logic.start(str(CSRD), None)
    with pytest.raises(ValueError, match="nowhere was not found"):
        logic.start("nowhere", images()[1])

"""A module of 3D Slicer that denoises a brain PET volume by the command csrd.

csrd runs as a program of its own, in the environment that it was installed in, not in Slicer's Python.
"""

import os
import shlex
import shutil
import tempfile
from pathlib import Path

import ctk
import qt
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)

import slicer

PROGRAM_SETTING = "CSRDDenoise/Program"
UNITS = ("", "Bq/mL", "kBq/mL", "SUV")
DEVICES = ("auto", "cpu", "cuda")
LIMIT_MS = 1000  # between two looks at the running program


class CSRDDenoise(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = "CSR-D PET denoising"
        parent.categories = ["Filtering.Denoising", "Nuclear Medicine"]
        parent.contributors = ["The CSR-D authors"]
        parent.helpText = (
            "Denoises a low-dose brain PET volume, with the subject's T1w MR or without one, and shows the "
            "predicted standard deviation on request. It calls the command csrd, which has to be installed. "
            "A research tool, not for clinical use."
        )
        parent.acknowledgementText = (
            "The method: Volumetric Conditional Score-based Residual Diffusion Model for PET/MR Denoising "
            "(MICCAI 2024)."
        )


class CSRDDenoiseWidget(ScriptedLoadableModuleWidget):
    """The panel: volumes, options, a button, and the output of the program."""

    def setup(self) -> None:
        super().setup()
        self.logic = CSRDDenoiseLogic(self.say, self.show)
        box = ctk.ctkCollapsibleButton()
        box.text = "Denoise"
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)
        self.pet = self._selector(form, "PET:", "The low-dose PET, scaled to its normal dose.")
        self.mr = self._selector(
            form, "T1w MR:", "The subject's T1w image on any grid; may be absent.", none=True
        )
        self.result = self._selector(
            form, "Denoised:", "The output; absent: a new volume.", none=True, new=True
        )
        self.std = qt.QCheckBox()
        self.std.toolTip = (
            "Another volume: the predicted standard deviation of the normal dose around the image."
        )
        form.addRow("Standard deviation:", self.std)
        self.drf = qt.QDoubleSpinBox()
        self.drf.minimum, self.drf.maximum, self.drf.specialValueText = 0, 1000, "measured in the image"
        form.addRow("Dose reduction factor:", self.drf)
        self.units = self._choice(form, "Unit of the PET:", UNITS)
        self.device = self._choice(form, "Device:", DEVICES)
        self.program = ctk.ctkPathLineEdit()
        self.program.filters = ctk.ctkPathLineEdit.Files
        self.program.currentPath = qt.QSettings().value(PROGRAM_SETTING) or shutil.which("csrd") or ""
        self.program.toolTip = (
            "The program csrd, e.g. in the folder bin of the environment it is installed in."
        )
        form.addRow("Program:", self.program)
        self.button = qt.QPushButton("Denoise")
        self.button.connect("clicked(bool)", self.on_button)
        form.addRow(self.button)
        self.output = qt.QPlainTextEdit()
        self.output.readOnly = True
        form.addRow(self.output)
        self.layout.addStretch(1)

    def cleanup(self) -> None:
        self.logic.stop()

    def on_button(self, *_) -> None:
        """Start the program, or end it where it runs."""
        if self.logic.running:
            self.logic.stop()
            return
        qt.QSettings().setValue(PROGRAM_SETTING, self.program.currentPath)
        self.output.clear()
        try:
            self.logic.start(
                self.program.currentPath,
                self.pet.currentNode(),
                mr=self.mr.currentNode(),
                result=self.result.currentNode(),
                std=self.std.checked,
                drf=self.drf.value or None,
                units=self.units.currentText or None,
                device=self.device.currentText,
            )
        except (ValueError, OSError) as error:
            slicer.util.errorDisplay(str(error))
            return
        self.button.text = "Stop"

    def say(self, text: str) -> None:
        """Append output of the program."""
        self.output.appendPlainText(text.rstrip())

    def show(self, node) -> None:
        """Show the denoised volume, or only make the button ready again where there is none."""
        self.button.text = "Denoise"
        if node is not None:
            self.result.setCurrentNode(node)
            slicer.util.setSliceViewerLayers(background=node)

    def _selector(self, form, label: str, tip: str, none: bool = False, new: bool = False):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.noneEnabled, selector.addEnabled, selector.removeEnabled = none, new, False
        selector.setMRMLScene(slicer.mrmlScene)
        selector.toolTip = tip
        form.addRow(label, selector)
        return selector

    def _choice(self, form, label: str, values: tuple[str, ...]):
        choice = qt.QComboBox()
        choice.addItems(list(values))
        form.addRow(label, choice)
        return choice


class CSRDDenoiseLogic(ScriptedLoadableModuleLogic):
    """Volumes saved to a folder, the program run beside Slicer, its files loaded.

    `say` is called with text of the program, `show` with the denoised volume, or None after a failure.
    """

    def __init__(self, say=print, show=lambda node: None) -> None:
        super().__init__()
        self.say, self.show = say, show
        self.process, self.folder, self.targets = None, None, {}

    @property
    def running(self) -> bool:
        return self.process is not None

    def start(self, program: str, pet, mr=None, result=None, std: bool = False, **options) -> None:
        """Save the volumes and start the program. Raises ValueError where something is missing."""
        if pet is None:
            raise ValueError("No PET is selected; load one, and select it.")
        if not program or not shutil.which(program):
            raise ValueError(
                f"The program {program or 'csrd'} was not found; install csrd, and select its program."
            )
        self.folder = Path(tempfile.mkdtemp(prefix="csrd-"))
        save(pet, self.folder / "pet.nii.gz")
        if mr is not None:
            save(mr, self.folder / "mr.nii.gz")
        self.targets = {"denoised": result, "std": None} if std else {"denoised": result}
        words = command(self.folder, mr=mr is not None, std=std, **options)
        self.say(f"{program} {shlex.join(words)}")
        self.process = qt.QProcess()
        self.process.setProcessEnvironment(own_environment())
        self.process.setProcessChannelMode(qt.QProcess.MergedChannels)
        self.process.connect("readyRead()", self._read)
        self.process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self.process.start(program, words)

    def stop(self) -> None:
        """End the program where it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.waitForFinished(LIMIT_MS)

    def _read(self) -> None:
        self.say(self.process.readAll().data().decode(errors="replace"))

    def _finished(self, status: int, *_) -> None:
        self._read()
        self.process, node = None, None
        try:
            if status == 0:
                node = self._load()
            else:
                self.say(f"csrd ended with exit status {status}.")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.show(node)

    def _load(self):
        """Return the denoised volume; load the standard deviation beside it."""
        loaded = {}
        for name, target in self.targets.items():
            node = slicer.util.loadVolume(
                str(self.folder / f"{name}.nii.gz"), {"name": f"PET {name}", "show": False}
            )
            if target is not None:  # an existing volume takes the content
                target.CopyContent(node)
                slicer.mrmlScene.RemoveNode(node)
                node = target
            loaded[name] = node
        return loaded["denoised"]


def command(
    folder: Path,
    mr: bool,
    std: bool,
    drf: float | None = None,
    units: str | None = None,
    device: str = "auto",
) -> list[str]:
    """Return the words after the program's name."""
    words = ["denoise", str(folder / "pet.nii.gz"), str(folder / "denoised.nii.gz"), "--device", device]
    words += ["--mr", str(folder / "mr.nii.gz")] if mr else []
    words += ["--std", str(folder / "std.nii.gz")] if std else []
    words += ["--drf", f"{drf:g}"] if drf else []
    words += ["--units", units] if units else []
    return words


def save(node, path: Path) -> None:
    """Write a volume as NIfTI. Raises OSError where Slicer cannot."""
    if not slicer.util.saveNode(node, str(path)):
        raise OSError(f"{path} cannot be written.")


def own_environment():
    """Return the environment without what Slicer sets for its own Python and libraries."""
    environment = qt.QProcessEnvironment.systemEnvironment()
    for name in list(os.environ):
        if name.startswith("PYTHON") or name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
            environment.remove(name)
    return environment

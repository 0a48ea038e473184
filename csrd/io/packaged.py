"""Images in installed Python packages, read without importing those packages."""

from importlib.util import find_spec
from pathlib import Path

from csrd.errors import InputError
from csrd.io.volume import Volume


def packaged_labels(package: str, name: str) -> Volume:
    """Return the image `name`, a path inside an installed package, with its values as stored.

    Raises InputError where the file is missing.
    """
    found = find_spec(package)
    path = Path(found.origin).parent / name if found and found.origin else None
    if path is None or not path.exists():
        raise InputError(
            f"{package}'s file {name} is not installed; run `pip install --force-reinstall {package}`"
        )
    return Volume.load(path, unit="label")

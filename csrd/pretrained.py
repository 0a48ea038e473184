"""Where methods lie that were fitted before, and which of them come with the package.

Standard library only, so that the workflow can ask before it plans.
"""

from collections.abc import Iterable
from pathlib import Path

from csrd.errors import InputError

PACKAGED = "packaged"
KEYS = ("csrd", "csrdnomr")
FOLDER = Path(__file__).parent / "methods" / "weights"


def packaged(key: str) -> Path:
    """Return the folder of the packaged model of a method.

    Raises InputError where none is packaged.
    """
    if key not in KEYS:
        raise InputError(f"no model of {key} comes with the package; train one and name it with --model")
    return FOLDER / key


def locate(models: str, methods: Iterable[str]) -> dict[str, Path]:
    """Return the folder of each method's model; `models` is `PACKAGED`, or a folder with one of each name.

    Raises InputError where one is missing.
    """
    folder = FOLDER if models == PACKAGED else Path(models)
    found = {method: folder / method for method in methods}
    missing = [method for method, path in found.items() if not (path / "model.json").is_file()]
    if missing:
        where = "the package" if models == PACKAGED else models
        raise InputError(
            f"cohort.models is {models}, and {where} has no model of {', '.join(missing)}; "
            "take them out of methods, or fit them"
        )
    return found

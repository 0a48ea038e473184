"""The folders of fitted methods, and the models in the package, by which a scan is denoised out of the box.

Importing this module takes the standard library only, since the workflow does so before it plans.
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


def publish(models: Path) -> None:
    """Copy the models of a finished run into the package, their weights in half precision."""
    import torch
    from safetensors.torch import load_file

    from csrd.io.files import read_json, sha256, write_json
    from csrd.methods.base import MODEL_FILE
    from csrd.methods.learned import WEIGHTS_FILE
    from csrd.train.checkpoint import save_weights

    for key in KEYS:
        weights = load_file(models / key / WEIGHTS_FILE)
        half = {name: tensor.to(torch.float16) for name, tensor in weights.items()}
        save_weights(FOLDER / key / WEIGHTS_FILE, half, {"method": key})
        card = read_json(models / key / MODEL_FILE)
        card["weights_sha256"] = sha256(FOLDER / key / WEIGHTS_FILE)
        write_json(FOLDER / key / MODEL_FILE, card)

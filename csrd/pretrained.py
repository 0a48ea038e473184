"""The models in the package, and the folders of fitted methods.

This module imports only the standard library, since the workflow imports it before it plans.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from csrd.errors import InputError

PACKAGED = "packaged"
KEYS = ("csrd", "csrdnomr")
CARD_FILE, README_FILE = "model.json", "README.md"
TRAINING_FILE = "training.json"  # of a training on synthetic pairs
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

    It may also be the folder of the one method that is wanted. Raises InputError where one is missing.
    """
    folder, wanted = FOLDER if models == PACKAGED else Path(models), list(methods)
    found = {method: folder / method for method in wanted}
    if len(wanted) == 1 and (folder / CARD_FILE).is_file():
        found = {wanted[0]: folder}
    missing = [method for method, path in found.items() if not (path / CARD_FILE).is_file()]
    if missing:
        where = "the package" if models == PACKAGED else models
        raise InputError(
            f"cohort.models is {models}, and {where} has no model of {', '.join(missing)}; "
            "take them out of methods, or fit them"
        )
    return found


def cards() -> dict[str, dict[str, Any]]:
    """Return the ``model.json`` of each packaged model by its method's key."""
    return {key: json.loads((packaged(key) / CARD_FILE).read_text()) for key in KEYS}


def listing() -> str:
    """Return a line for each packaged model: key, label, network, weights, and the version that made it."""
    from csrd.methods import method

    return "".join(
        f"{key:<10} {method(key).label:<14} {card['architecture']['network']}, "
        f"{card['parameters'] / 1e6:.1f} million weights, csrd {card['version']}\n"
        for key, card in cards().items()
    )


def description(key: str) -> str:
    """Return the model card of a packaged model in Markdown: use, training, limits, and all its settings.

    Raises InputError where none is packaged.
    """
    folder = packaged(key)
    words = re.sub(
        r"\[([^]]*)\]\([^)]*\)", r"\1", (FOLDER / README_FILE).read_text("utf-8")
    )  # links without targets
    return f"{words}\n## {key}: {folder}\n\n```json\n{json.dumps(cards()[key], indent=2)}\n```\n"


def publish(models: Path, into: Path = FOLDER) -> None:
    """Copy fitted models into the package, or another folder, their weights in half precision.

    `models` is that folder of a finished run, or one that `csrd.synthetic.pretrain` left.
    Raises InputError where a model is missing; nothing is then written.
    """
    import torch
    from safetensors.torch import load_file

    from csrd.io.files import read_json, sha256, write_json
    from csrd.methods.base import MODEL_FILE
    from csrd.methods.learned import WEIGHTS_FILE
    from csrd.train.checkpoint import save_weights

    if (models / TRAINING_FILE).is_file():
        write_models(models, models / "models")
        models = models / "models"
    for key in KEYS:
        if not (models / key / WEIGHTS_FILE).is_file():
            raise InputError(
                f"{models} has no fitted {key}; give the folder models/ of a finished run with csrd and "
                "csrdnomr, or the folder of make pretrained"
            )
    published: dict[str, str] = {}  # key of the model that has these weights, by their checksum
    for key in KEYS:
        source, folder = models / key / WEIGHTS_FILE, into / key
        owner = published.setdefault(sha256(source), key)
        card = read_json(models / key / MODEL_FILE)
        if owner == key:
            half = {name: tensor.to(torch.float16) for name, tensor in load_file(source).items()}
            save_weights(folder / WEIGHTS_FILE, half, {"method": key})
        else:  # one network for both: the package holds its weights once
            (folder / WEIGHTS_FILE).unlink(missing_ok=True)
            card["weights"] = f"../{owner}/{WEIGHTS_FILE}"
        card["weights_sha256"] = sha256(into / owner / WEIGHTS_FILE)
        write_json(folder / MODEL_FILE, card)


def write_models(training: Path, out: Path) -> None:
    """Write the training of `csrd.synthetic.pretrain` in `training` as two models, with and without MR."""
    from csrd import __version__
    from csrd.io.files import read_json, sha256, whole_file
    from csrd.methods import method
    from csrd.methods.csrd import Csrd, CsrdCalibration, CsrdSettings
    from csrd.methods.learned import WEIGHTS_FILE

    facts = read_json(training / TRAINING_FILE)
    recipe = {name: value for name, value in facts["recipe"].items() if name in CsrdSettings.model_fields}
    settings = CsrdSettings(network="resunet", measured=True, coordinates=False, **recipe)
    card = {name: facts[name] for name in ("ema_std", "gain_db", "parameters", "recipe", "training")}
    card |= {"version": __version__, "weights_sha256": sha256(training / WEIGHTS_FILE)}
    for key in KEYS:
        kind = method(key)
        assert issubclass(kind, Csrd)
        with whole_file(out / key / WEIGHTS_FILE) as temporary:
            temporary.write_bytes((training / WEIGHTS_FILE).read_bytes())
        calibration = CsrdCalibration(std_factor=facts.get("std_factor", {}))
        kind.write_model(out / key, kind(settings, calibration, facts["seed"]).card_of(card))

"""The trained models that come with the package, so that one scan can be denoised right after installation.

`python -m csrd.methods.packaged results/models` replaces them by those of a finished run.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from csrd.errors import plain_errors
from csrd.io.files import read_json, sha256, write_json
from csrd.methods.base import MODEL_FILE
from csrd.methods.learned import WEIGHTS_FILE
from csrd.pretrained import FOLDER, KEYS
from csrd.train.checkpoint import save_weights


def publish(models: Path) -> None:
    """Copy the models of a finished run into the package, their weights in half precision."""
    for key in KEYS:
        weights = {
            name: tensor.to(torch.float16) for name, tensor in load_file(models / key / WEIGHTS_FILE).items()
        }
        save_weights(FOLDER / key / WEIGHTS_FILE, weights, {"method": key})
        model = read_json(models / key / MODEL_FILE)
        model["weights_sha256"] = sha256(FOLDER / key / WEIGHTS_FILE)
        write_json(FOLDER / key / MODEL_FILE, model)


if __name__ == "__main__":
    with plain_errors():
        publish(Path(sys.argv[1]))

"""Scans in a network's units, in one compressed file that travels to a machine which lacks the project's packages.

    python benchmarks/gpu/pack.py OUT.npz [--config config/config.yaml]

Packs the aligned training and validation pairs of a finished (or aligned) cohort for the preset `default`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from csrd.train.patches import Scan


def write_pack(path: Path, scans: list[tuple[Scan, np.ndarray, str]]) -> None:
    """Write scans, each with its head mask (X, Y, Z) and its split, in half precision."""
    content, facts = {}, []
    for i, (scan, mask, split) in enumerate(scans):
        content[f"inputs{i}"] = scan.inputs.numpy().astype(np.float16)
        content[f"target{i}"] = scan.target.numpy().astype(np.float16)
        content[f"mask{i}"] = np.packbits(mask)
        facts.append({"dose": scan.dose, "unit": scan.unit, "subject": scan.subject, "split": split})
    np.savez_compressed(path, facts=json.dumps(facts), **content)


def read_pack(path: Path, device: torch.device) -> list[tuple[Scan, torch.Tensor, str]]:
    """Return what `write_pack` wrote, on a device."""
    with np.load(path) as content:
        found = []
        for i, facts in enumerate(json.loads(str(content["facts"]))):
            inputs, target = (
                torch.from_numpy(content[f"{name}{i}"]).float() for name in ("inputs", "target")
            )
            mask = np.unpackbits(content[f"mask{i}"], count=target.numel()).reshape(target.shape[1:])
            split = facts.pop("split")
            scan = Scan(inputs, target, **facts).to(device)
            found.append((scan, torch.from_numpy(mask.astype(bool)).to(device), split))
    return found


def main() -> None:

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    given = parser.parse_args()
    raise NotImplementedError


if __name__ == "__main__":
    main()

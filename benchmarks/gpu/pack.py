"""Scans in a network's units in one compressed file, for a machine that cannot read images."""

import json
from pathlib import Path

import numpy as np
import torch

from csrd.train.patches import Scan


def write_pack(path: Path, scans: list[tuple[Scan, np.ndarray, str]]) -> None:
    """Write scans, each with its head mask (X, Y, Z) and its split, in half precision.

    The doses of a subject share the normal dose, the other inputs and the mask, which are written once.
    """
    content, facts = {}, []
    for i, (scan, mask, split) in enumerate(scans):
        low, *others = scan.inputs
        content[f"low{i}"] = low.numpy().astype(np.float16)
        shared = len(facts)  # the number of the scan whose shared parts are this one's too
        for j, other in enumerate(facts):
            if other["subject"] == scan.subject and other["shared"] == j:
                shared = j
        if shared == i:
            normal = low - scan.unit * scan.target[0]
            content[f"normal{i}"] = normal.numpy().astype(np.float16)
            content[f"others{i}"] = np.stack([other.numpy() for other in others]).astype(np.float16)
            content[f"mask{i}"] = np.packbits(mask)
        named = {name: getattr(scan, name) for name in ("dose", "unit", "subject")}
        facts.append({**named, "split": split, "shared": shared})
    np.savez_compressed(path, facts=json.dumps(facts), **content)


def read_pack(path: Path, device: torch.device) -> list[tuple[Scan, torch.Tensor, str]]:
    """Return what `write_pack` wrote, on a device."""
    with np.load(path) as content:
        found = []
        for i, facts in enumerate(json.loads(str(content["facts"]))):
            split, shared = facts.pop("split"), facts.pop("shared")
            low, normal, others = (
                torch.from_numpy(content[name]).float()
                for name in (f"low{i}", f"normal{shared}", f"others{shared}")
            )
            mask = np.unpackbits(content[f"mask{shared}"], count=low.numel()).reshape(low.shape).astype(bool)
            inputs, target = torch.cat([low[None], others]), ((low - normal) / facts["unit"])[None]
            found.append((Scan(inputs, target, **facts).to(device), torch.from_numpy(mask).to(device), split))
    return found

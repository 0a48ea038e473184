"""Compilation of a network for its training on a GPU, and the switch for it."""

import os

import torch
from torch import nn

from csrd.errors import InputError

SWITCH = "CSRD_COMPILE"
"""The environment variable with one of `WAYS`."""

WAYS = {
    "none": None,
    "auto": {},
    "graphs": {"mode": "reduce-overhead"},  # kernels of a pass are launched as one CUDA graph
    "tuned": {"mode": "max-autotune"},  # as graphs, and kernels are chosen by trial, for minutes
}


def compile_for(network: nn.Module, device: torch.device) -> str:
    """Compile a network in place, as the switch says, if it is trained on a GPU; return the way.

    Raises InputError where the switch has another value.
    """
    way = os.environ.get(SWITCH, "auto")
    if way not in WAYS:
        raise InputError(f"{SWITCH} is {way!r}; set it to one of {', '.join(WAYS)}")
    options = WAYS[way]
    if device.type != "cuda" or options is None:
        return "none"
    network.compile(**options)
    return way

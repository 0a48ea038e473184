"""Speed of training and denoising of the 2D methods, at the sizes of a configuration.

    python benchmarks/baselines.py [config/config.yaml] [--threads 2] [--steps 20]

Random images of align.shape. Prints parameters, slices trained per second, the time of the complete
training at this rate, and seconds per volume.
"""

import argparse
import math
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml

from csrd.config import load
from csrd.config.methods import LearnedSettings
from csrd.io.volume import Volume, centred_affine
from csrd.methods import method
from csrd.methods.learned.fitting import ValidatedTraining
from csrd.methods.learned.scaling import Head
from csrd.methods.learned.slices import SliceMethod
from csrd.train.checkpoint import StateFolder
from csrd.train.device import pick_device, precision
from csrd.train.loop import train
from csrd.train.patches import Scan

BASELINES = ("unet", "restormer")


def scan_of(shape: tuple[int, int, int]) -> tuple[Volume, Volume]:
    """Return a head-sized ellipsoid with noise as PET, and another as MR."""
    x = np.moveaxis(np.indices(shape), 0, -1) / (np.array(shape) - 1) * 2 - 1
    head = ((x / 0.8) ** 2).sum(-1) < 1
    noise = np.random.default_rng(0).random((2, *shape), np.float32)
    pet, mr = head * (0.5 + noise).astype(np.float32)
    return tuple(Volume(image, centred_affine(shape, 2.0), "Bq/mL") for image in (pet * 1e4, mr))


def with_weights(key: str, settings: LearnedSettings) -> SliceMethod:
    """Return a method with the weights that a training begins with."""
    return method(key)(settings, network=method(key)(settings).build())


def training_rate(one: SliceMethod, low: Volume, mr: Volume, steps: int) -> float:
    """Return slices trained a second, by the loop that trains the method; the first steps are not counted."""
    device = pick_device()
    inputs = torch.from_numpy(one.inputs(low, mr, Head.of(low)))
    patches = one.patches([Scan(inputs, inputs[:1] * 0.1, math.log(4)).to(device)])
    task = ValidatedTraining(one, [])
    seconds = []
    for count in (3, steps):
        training = one.settings.training.model_copy(update={"steps": count})
        with TemporaryDirectory() as folder:
            counters = train(
                task, patches, training, StateFolder(Path(folder)),
                precision=partial(precision, device), progress=lambda steps: steps,
            )  # fmt: skip
        seconds.append(counters.seconds)
    return steps * training.batch / seconds[-1]


def seconds_a_volume(one: SliceMethod, low: Volume, mr: Volume) -> float:
    """Return the time of the second volume; the first one warms up."""
    one.network.eval()
    for _ in range(2):
        started = time.perf_counter()
        one.apply(low, mr, 4)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", nargs="?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    config = load(yaml.safe_load(Path(asked.config).read_text())) if asked.config else load({})
    low, mr = scan_of(config.align.shape)
    print(f"{config.align.shape} voxels on {pick_device()}, {asked.threads} threads")
    print(f"{'method':>10} {'parameters':>11} {'slices/s':>9} {'whole training':>15} {'s/volume':>9}")
    for key in BASELINES:
        one = with_weights(key, config.of_method(key))
        parameters = sum(weight.numel() for weight in one.network.parameters())
        rate = training_rate(one, low, mr, asked.steps)
        whole = one.settings.training.steps * one.settings.training.batch / rate
        volume = seconds_a_volume(one, low, mr)
        print(f"{key:>10} {parameters:11,} {rate:9.1f} {whole:13.0f} s {volume:9.2f}", flush=True)


if __name__ == "__main__":
    main()

"""Time of the metrics of one volume, with and without reuse of the reference's features.

    python benchmarks/metrics.py [--size 160] [--threads 2]

One made-up pair of size³ voxels: the seconds of each metric for the reference's features and for an image,
then an image with the reference's features at hand against computing them for each image, as a job per
method would. Last, the P_dist of several noise levels in bf16 and in single precision.
"""

import argparse
import time

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from csrd.config.sections import Metrics
from csrd.imagenet import verified
from csrd.io.volume import Volume, centred_affine
from csrd.metrics import METRICS, vgg
from csrd.metrics.metric import Reference
from csrd.metrics.perceptual import p_dist, unit_scaled

FIVE = ("mae", "psnr", "ssim", "h_dist", "p_dist")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reference, image = pair(options.size)
    settings = Metrics()
    vgg.load(settings.vgg, settings.weights).features(np.zeros((1, 32, 32), np.float32))  # read, warmed up
    print(f"{options.size}³ voxels, {options.threads} threads, {settings.vgg}; seconds (CPU seconds)")
    print(f"{'':8} {'reference':>16} {'image':>16}")
    once = each = np.zeros(2)
    for key in FIVE:
        bound, setup = timed(lambda: METRICS[key](reference, settings))  # noqa: B023
        _, compute = timed(lambda: bound(image))  # noqa: B023
        once, each = once + setup, each + compute
        print(f"{key:8} {shown(setup):>16} {shown(compute):>16}")
    print(f"{'all':8} {shown(once):>16} {shown(each):>16}")
    print(f"an image with the reference's features at hand {shown(each)} s, with them computed anew "
          f"{shown(once + each)} s: {((once + each) / each)[0]:.2f}× as long")  # fmt: skip
    precisions(reference)


def precisions(reference: Reference) -> None:
    """Print P_dist by precision, on every eighth slice."""
    filters = vgg._onnx_filters("vgg16", verified("vgg16", ""))
    draw, peak = np.random.default_rng(2), reference.data_range
    clean = unit_scaled(reference.slices(reference.pet.array)[::8], peak)
    for strength in (0.003, 0.01, 0.03, 0.1):
        noisy = np.clip(clean + strength * draw.standard_normal(clean.shape), 0, 1).astype(np.float32)
        found = []
        for bf16 in (True, False):
            network = vgg.Vgg("vgg16", filters, bf16)
            found.append(p_dist(network.features(clean), network.features(noisy)))
        print(f"noise of {strength:5.3f} of the range: P_dist {found[0]:9.4f} in bf16, {found[1]:9.4f} in "
              f"fp32, {100 * (found[0] / found[1] - 1):+.2f} %")  # fmt: skip


def pair(size: int) -> tuple[Reference, Volume]:
    """Return an ellipsoid with smooth uptake and noise that fills most of the volume, and a noisier one."""
    draw, shape = np.random.default_rng(0), (size, size, size)
    points = np.moveaxis(np.indices(shape), 0, -1) - (size - 1) / 2
    mask = np.sum((points / (size * np.array([0.4, 0.48, 0.49]))) ** 2, axis=-1) < 1
    uptake = gaussian_filter(draw.random(shape), 3)
    uptake = np.where(mask, 5 + 20 * (uptake - uptake.min()) / np.ptp(uptake), 0)
    images = [uptake + level * draw.standard_normal(shape) for level in (0.5, 2)]
    volumes = [Volume(a.astype(np.float32), centred_affine(shape, 1.21875), "kBq/mL") for a in images]
    return Reference(volumes[0], mask), volumes[1]


def timed(call) -> tuple[object, np.ndarray]:
    """Return what a call returns, and its seconds by the wall clock and of all cores together."""
    start = np.array([time.perf_counter(), time.process_time()])
    return call(), np.array([time.perf_counter(), time.process_time()]) - start


def shown(seconds: np.ndarray) -> str:
    return f"{seconds[0]:.2f} ({seconds[1]:.2f})"


if __name__ == "__main__":
    main()

"""Quality of a method on a finished run's validation subjects, by number of samples and evaluations.

python benchmarks/quality.py results --subject sub-06 [--drf 8] [--method csrd]
Rows: the table's image, and that image with a part of what was taken from the low dose put back. Of CSR-D
also the posterior mean, one sample at N steps (2N - 1 evaluations), and averages of samples.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from csrd.config.sections import Metrics
from csrd.io.volume import Volume
from csrd.methods import keys, method
from csrd.methods.base import TrainingPair
from csrd.methods.csrd import CRITERIA, Csrd
from csrd.methods.learned.posterior import ScanPosterior
from csrd.metrics.evaluate import metrics_of
from csrd.stages.fit import aligned_pairs

STEPS = (1, 2, 4, 8, 16, 50)  # 1, 3, 7, 15, 31 and 99 evaluations
AVERAGED = (1, 2, 4, 8)
PUT_BACK = (0.03, 0.06, 0.10, 0.15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--drf", type=int, default=8)
    parser.add_argument("--method", choices=keys(), default="csrd")
    parser.add_argument("--subject", required=True, help="a validation subject, e.g. sub-06")
    given = parser.parse_args()
    fitted = method(given.method).load(given.results / "models" / given.method)
    (pair,) = aligned_pairs(
        given.results / "derivatives" / "csrd", {given.subject: "validation"}, [given.drf]
    )
    pair = pair.load()
    metrics = metrics_of(pair.normal, pair.mask.array > 0, Metrics())
    print(f"{given.subject} at 1/{given.drf} of the dose, {given.method}")
    print(f"{'':28s}{'s':>7s}" + "".join(f"{metrics[key].label:>12s}" for key in CRITERIA))

    def row(name: str, seconds: float, image: Volume) -> None:
        cells = "".join(f"{metrics[key](image):12.3f}" for key in CRITERIA)
        print(f"{name:28s}{seconds:7.1f}{cells}", flush=True)

    row("low dose", 0.0, pair.low)
    start = time.perf_counter()
    image = fitted.apply(pair.low, pair.mr, pair.drf)
    row("the table's image", time.perf_counter() - start, image)
    for share in PUT_BACK:
        noisier = np.maximum(image.array + share * (pair.low.array - image.array), 0)
        row(f"and {share:.0%} of the removed", 0.0, image.like(noisier))
    if isinstance(fitted, Csrd):
        for name, seconds, image in sampled(fitted, pair):
            row(name, seconds, image)


def sampled(fitted: Csrd, pair: TrainingPair):
    """Yield name, seconds and image of the posterior mean, of samples, and of averages of samples."""

    def timed(steps: int, samples: int) -> tuple[ScanPosterior, float]:
        fitted.use(steps=steps)
        start = time.perf_counter()
        return fitted.posterior(pair.low, pair.mr, pair.drf, samples), time.perf_counter() - start

    found, seconds = timed(1, 0)
    yield "posterior mean", seconds, found.image(found.mean)
    for steps in STEPS:
        found, seconds = timed(steps, 1)
        yield f"sample, {2 * steps - 1} evaluations", seconds, found.image(found.samples[0])
    found, seconds = timed(4, max(AVERAGED))
    for count in AVERAGED:
        share = seconds * count / max(AVERAGED)
        yield f"average of {count}, 7 each", share, found.image(torch.stack(found.samples[:count]).mean(0))


if __name__ == "__main__":
    main()

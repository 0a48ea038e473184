"""Quality of CSR-D on a finished run's validation subjects, against evaluations and against samples averaged.

python benchmarks/quality.py results --subject sub-06 [--drf 8]
Rows: the posterior mean (1 evaluation), one sample at N steps (2N - 1 evaluations), averages of samples.
"""

import argparse
import time
from pathlib import Path

import torch

from csrd.cohort.derivatives import find_pairs
from csrd.methods import method
from csrd.methods.base import TrainingPair
from csrd.methods.csrd import Csrd, Drawn
from csrd.metrics.evaluate import metrics_of
from csrd.sections import Metrics

STEPS = (1, 2, 4, 8, 16, 50)  # 1, 3, 7, 15, 31 and 99 evaluations
AVERAGED = (1, 2, 4, 8)
KEYS = ("mae", "psnr", "ssim", "h_dist", "p_dist")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--drf", type=int, default=8)
    parser.add_argument("--method", choices=("csrd", "csrdnomr"), default="csrd")
    parser.add_argument("--subject", required=True, help="a validation subject, e.g. sub-06")
    given = parser.parse_args()
    fitted = method(given.method).load(given.results / "models" / given.method)
    assert isinstance(fitted, Csrd)
    (files,) = find_pairs(given.results / "derivatives" / "csrd", {given.subject: "validation"}, [given.drf])
    pair = TrainingPair(**files).load()
    metrics = metrics_of(pair.normal, pair.mask.array > 0, Metrics())
    print(f"{given.subject} at 1/{given.drf} of the dose, {given.method}")
    print(f"{'':28s}{'s':>7s}" + "".join(f"{metrics[key].label:>12s}" for key in KEYS))

    def row(name: str, seconds: float, image) -> None:
        print(
            f"{name:28s}{seconds:7.1f}" + "".join(f"{metrics[key](image):12.3f}" for key in KEYS), flush=True
        )

    def drawn(steps: int, samples: int) -> tuple[Drawn, float]:
        fitted.use(steps=steps)
        start = time.perf_counter()
        return fitted.drawn(pair.low, pair.mr, pair.drf, samples), time.perf_counter() - start

    row("low dose", 0.0, pair.low)
    found, seconds = drawn(1, 0)
    row("posterior mean, 1 evaluation", seconds, found.image(found.mean))
    for steps in STEPS:
        found, seconds = drawn(steps, 1)
        row(f"sample, {2 * steps - 1} evaluations", seconds, found.image(found.samples[0]))
    found, seconds = drawn(4, max(AVERAGED))
    for count in AVERAGED:
        share = seconds * count / max(AVERAGED)
        row(f"average of {count}, 7 each", share, found.image(torch.stack(found.samples[:count]).mean(0)))


if __name__ == "__main__":
    main()

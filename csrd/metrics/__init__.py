"""The metrics of each protocol. A new one is a subclass of `Metric` that is listed here.

The first five are Table 1's, in the paper's order; the others are columns of metrics.csv.
"""

from csrd.metrics import released
from csrd.metrics.haralick import HDist
from csrd.metrics.image import MAE, NRMSE, PSNR, SSIM
from csrd.metrics.metric import Metric
from csrd.metrics.perceptual import Lpips, PDist


def _by_key(*metrics: type[Metric]) -> dict[str, type[Metric]]:
    return {metric.key: metric for metric in metrics}


METRICS: dict[str, type[Metric]] = _by_key(MAE, PSNR, SSIM, HDist, PDist, NRMSE, Lpips)
PROTOCOLS: dict[str, dict[str, type[Metric]]] = {
    "default": METRICS,
    "released": METRICS
    | _by_key(
        released.ReleasedMAE,
        released.ReleasedPSNR,
        released.ReleasedSSIM,
        released.ReleasedHDist,
        released.ReleasedPDist,
    ),
}

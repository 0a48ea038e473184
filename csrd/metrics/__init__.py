"""The metrics of Table 1. Adding one is writing a `Metric` and entering it here: the columns follow."""

from csrd.metrics.image import MAE, PSNR, SSIM
from csrd.metrics.metric import Metric

METRICS: dict[str, type[Metric]] = {metric.key: metric for metric in (MAE, PSNR, SSIM)}

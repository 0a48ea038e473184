"""The paper's Table 1 (Yoon et al., MICCAI 2024): its metrics and its numbers.

Its numbers come from 7 other subjects, another scanner's data and undisclosed units and masks. They can be
shown beside ours, but the values are not comparable.
"""

import pandas as pd

METRICS = ("mae", "psnr", "ssim", "h_dist", "p_dist")

# Mean and standard deviation of each of `METRICS`, test subjects and doses 4, 6, 8 and 10 × together.
ROWS = {
    "lowdose": ((0.059, 0.026), (35.07, 4.21), (0.84, 0.070), (4.84, 1.74), (0.27, 0.17)),
    "tv": ((0.036, 0.015), (40.04, 4.39), (0.91, 0.048), (22.53, 8.59), (0.33, 0.22)),
    "unet": ((0.034, 0.014), (40.08, 4.36), (0.92, 0.042), (4.57, 2.39), (0.18, 0.12)),
    "restormer": ((0.036, 0.015), (40.65, 4.68), (0.92, 0.045), (3.59, 1.31), (0.14, 0.06)),
    "csrd": ((0.033, 0.015), (41.11, 4.97), (0.93, 0.044), (2.78, 1.21), (0.10, 0.06)),
    "csrdnomr": ((0.056, 0.014), (40.56, 4.56), (0.91, 0.039), (3.21, 1.68), (0.10, 0.06)),
}


def paper_table1() -> pd.DataFrame:
    """Return the paper's Table 1 in the columns of ours: ``method, mae_mean, mae_std, …``."""
    columns = ["method"] + [f"{metric}_{part}" for metric in METRICS for part in ("mean", "std")]
    rows = [[method, *(value for pair in cells for value in pair)] for method, cells in ROWS.items()]
    return pd.DataFrame(rows, columns=columns)

"""Total variation denoising in 3D, its weight fitted for each dose and extrapolated to others.

The image u minimises ‖u − f‖² / 2 + w ∫|∇u|, f being the low-dose image over its robust scale, by
Chambolle's projection (2004). The weight follows log w = a + b log drf, fitted on the training doses.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, PositiveFloat

from csrd.config.methods import MethodSettings
from csrd.errors import InputError
from csrd.methods.base import FitContext, Method, TrainingPair, robust_scale
from csrd.progress import progress

if TYPE_CHECKING:
    from pathlib import Path

    from csrd.io.volume import Volume

EPS = 2e-4  # relative fall of the energy at which Chambolle's iteration stops
MAX_ITERATIONS = 200
REFINEMENTS = 5  # golden sections of the bracket around the best candidate: within 5 % of the optimum
FIT_VOXELS = 250_000  # of a pair that the search computes on; one weight does not need more
GOLDEN = (np.sqrt(5) - 1) / 2


class TvSettings(MethodSettings):
    weights: Annotated[tuple[PositiveFloat, ...], Field(min_length=2)] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
    """Weights tried on the training subjects, relative to the volume's robust maximum."""


def denoise_tv(array: np.ndarray, scale: float, weight: float) -> np.ndarray:
    """Return the TV-denoised array (X, Y, Z), float32, nowhere negative; `weight` is relative to `scale`."""
    from skimage.restoration import denoise_tv_chambolle

    scaled = (array / np.float32(scale)).astype(np.float32)
    smooth = denoise_tv_chambolle(scaled, weight=weight, eps=EPS, max_num_iter=MAX_ITERATIONS)
    return np.maximum(smooth, 0).astype(np.float32) * np.float32(scale)


class TotalVariation(Method):
    """TV with log w = `intercept` + `slope` log drf."""

    key, label, row = "tv", "TV", 1
    Settings = TvSettings

    def __init__(self, intercept: float, slope: float) -> None:
        self.intercept, self.slope = intercept, slope

    def weight(self, drf: float) -> float:
        """Return the weight for a dose reduction factor."""
        return float(np.exp(self.intercept + self.slope * np.log(drf)))

    def apply(self, low: Volume, mr: Volume | None, drf: float | None) -> Volume:
        from csrd.align.head import head_mask

        assert drf is not None, "the weight follows from the dose"
        scale = robust_scale(low, head_mask(low))
        return low.like(denoise_tv(low.array, scale, self.weight(drf)))

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        model = cls.read_model(model_dir)
        return cls(model["intercept"], model["slope"])

    @classmethod
    def fit(cls, pairs: list[TrainingPair], settings: TvSettings, out_dir: Path, context: FitContext) -> None:
        """Search each training dose's weight, and write the line through them with the scores of the search.

        Scores are the mean over subjects of the mean absolute error in the head, relative to the low-dose
        image's scale, so that every subject has equal weight.
        """
        candidates = sorted(set(settings.weights))
        if len(candidates) < 2:
            raise InputError(f"tv.weights is {list(settings.weights)}; give two or more different weights")
        training = [pair for pair in pairs if pair.split == "train"]
        doses = sorted({pair.drf for pair in training})
        if not doses:
            raise InputError("there is no training subject to fit tv on; set cohort.train to 1 or more")
        searches = {}
        with ThreadPoolExecutor(context.threads) as pool:
            for drf in progress(doses, "tv: fitting the weight of each dose"):
                samples = list(pool.map(_sample, [pair for pair in training if pair.drf == drf]))
                searches[drf] = search_weight(partial(_score, samples=samples, pool=pool), candidates)
        cls.write_model(out_dir, _record(training, candidates, searches))


def search_weight(score: Callable[[float], float], candidates: list[float]) -> dict[float, float]:
    """Return the score of every weight that was tried; the optimum has the lowest score.

    First the sorted candidates are tried, up to two after the best, since smoothing only increases from
    there. Golden sections in log w of the bracket around the best follow. A best at an end of the list is in
    the middle of a bracket that extends one step beyond it.
    """
    scores: dict[float, float] = {}
    for i, weight in enumerate(candidates):
        scores[weight] = score(weight)
        if i - candidates.index(_best(scores)) == 2:
            break
    grid = np.log(candidates)
    i = candidates.index(_best(scores))
    low = grid[i - 1] if i > 0 else 2 * grid[0] - grid[1]
    high = grid[i + 1] if i + 1 < len(grid) else 2 * grid[-1] - grid[-2]
    inner = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)]
    for _ in range(REFINEMENTS):
        for position in inner:
            if np.exp(position) not in scores:
                scores[float(np.exp(position))] = score(float(np.exp(position)))
        if scores[np.exp(inner[0])] <= scores[np.exp(inner[1])]:
            high, inner = inner[1], [inner[1] - GOLDEN * (inner[1] - low), inner[0]]
        else:
            low, inner = inner[0], [inner[1], inner[0] + GOLDEN * (high - inner[0])]
    return scores


def fit_line(weights: dict[int, float]) -> tuple[float, float]:
    """Return (a, b) of log w = a + b log drf by least squares; b = 0 where there is one dose only."""
    log_drf, log_weight = np.log(list(weights)), np.log(list(weights.values()))
    if len(weights) == 1:
        return float(log_weight[0]), 0.0
    slope, intercept = np.polyfit(log_drf, log_weight, 1)
    return float(intercept), float(slope)


@dataclass(frozen=True)
class _Sample:
    """The data of one pair for the search: arrays cropped to the head (X, Y, Z), and the image's scale."""

    low: np.ndarray
    normal: np.ndarray
    mask: np.ndarray
    scale: float

    def error(self, weight: float) -> float:
        """Return the mean absolute error in the mask, relative to the scale."""
        denoised = denoise_tv(self.low, self.scale, weight)
        return float(np.mean(np.abs(denoised - self.normal)[self.mask])) / self.scale


def _sample(pair: TrainingPair) -> _Sample:
    """Return the head's box of a pair, cut to the middle axial slices where it has more than `FIT_VOXELS`."""
    from scipy import ndimage

    from csrd.align.head import head_mask

    loaded = pair.load()
    mask = loaded.mask.array > 0
    if not mask.any():
        raise InputError(f"{pair.subject}: the head mask is empty; align the subject again")
    x, y, z = ndimage.find_objects(mask.astype(np.uint8))[0]
    slices = max(8, FIT_VOXELS // ((x.stop - x.start) * (y.stop - y.start)))
    spare = max(0, z.stop - z.start - slices) // 2
    box = x, y, slice(z.start + spare, z.stop - spare)
    scale = robust_scale(loaded.low, head_mask(loaded.low))  # as `apply` will see it
    return _Sample(loaded.low.array[box], loaded.normal.array[box], mask[box], scale)


def _score(weight: float, samples: list[_Sample], pool: ThreadPoolExecutor) -> float:
    return float(np.mean(list(pool.map(lambda sample: sample.error(weight), samples))))


def _best(scores: dict[float, float]) -> float:
    return min(scores, key=scores.__getitem__)


def _record(training: list[TrainingPair], candidates: list[float], searches: dict[int, dict]) -> dict:
    """Return the content of ``model.json``: the line through the best weights, and the search."""
    best = {drf: _best(scores) for drf, scores in searches.items()}
    intercept, slope = fit_line(best)
    return {
        "intercept": intercept,
        "slope": slope,
        "law": "log(weight) = intercept + slope * log(drf)",
        "criterion": "mean absolute error in the head / 99.9th percentile of the low dose there",
        "subjects": sorted({pair.subject for pair in training}),
        "candidates": candidates,
        "best_weight": {str(drf): weight for drf, weight in best.items()},
        "scores": {str(drf): [[w, scores[w]] for w in sorted(scores)] for drf, scores in searches.items()},
        "eps": EPS,
        "max_iterations": MAX_ITERATIONS,
    }


METHOD = TotalVariation

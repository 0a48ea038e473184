import numpy as np
import pytest

from csrd.config import load
from csrd.config.methods import MethodSettings
from csrd.io.volume import Volume, centred_affine
from csrd.methods import FitContext, TrainingPair

ONE_THREAD = FitContext(seed=2024)

SHAPE = (22, 25, 18)  # no multiple of anything a network divides by


def head(seed: int, drf: int, split: str = "train", flip: bool = False) -> TrainingPair:
    """A ball of uptake with a bright core, its noise that of the dose; the MR shows the core too."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    core = np.sqrt(((grid - rng.uniform(-0.2, 0.2, 3)[:, None, None, None]) ** 2).sum(0)) < 0.4
    ball = radius < 0.9
    normal = (1e4 * (ball + 0.5 * core)).astype(np.float32)
    noise = rng.normal(0, 700 * np.sqrt(drf), SHAPE) * ball
    low = np.maximum(normal + noise, 0).astype(np.float32)
    affine = centred_affine(SHAPE, 4.0)
    if flip:
        affine[0] *= -1

    def volume(array: np.ndarray, unit: str) -> Volume:
        return Volume(array, affine, unit)

    mr = (300 * ball + 200 * core).astype(np.float32)
    return TrainingPair(
        f"sub-{seed:02}", drf, volume(low, "Bq/mL"), volume(normal, "Bq/mL"), volume(mr, "arbitrary"),
        volume(ball.astype(np.uint8), "mask"), split,
    )  # fmt: skip


@pytest.fixture(scope="session")
def pairs() -> list[TrainingPair]:
    training = [head(seed, drf) for seed in (1, 2) for drf in (4, 8)]
    return [*training, head(3, 4, "validation")]


@pytest.fixture(scope="session")
def settings():
    """Return the settings of a method small enough to be trained in a test."""

    def of(key: str, **differs) -> MethodSettings:
        small = {
            "channels": [16, 16], "patch": 16, "training": {"steps": 250, "batch": 2, "lr": 0.003},
            "sampler": {"steps": 3}, "samples": 3,
        }  # fmt: skip
        return load({key: {**small, **differs}}).of_method(key)

    return of

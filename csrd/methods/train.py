"""The train stage: fits one method on the training pairs."""

from pathlib import Path

from csrd.methods import method
from csrd.methods.base import TrainingPair


def train(
    key: str, pairs: list[TrainingPair], settings: dict, model_dir: str | Path, *, threads: int = 1
) -> None:
    """Fit method `key` on `pairs` and write it into `model_dir` (``model.json`` marks it whole).

    `settings` is the method's block of the configuration.
    """
    Path(model_dir).mkdir(parents=True, exist_ok=True)
    method(key).fit(pairs, settings, Path(model_dir), threads=threads)

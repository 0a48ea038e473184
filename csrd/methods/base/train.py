"""Fitting of a method on training pairs, in one or several processes."""

from pathlib import Path

from csrd.config.methods import MethodSettings
from csrd.methods import method
from csrd.methods.base import FitContext, TrainingPair
from csrd.methods.learned.together import train_together


def train(
    key: str,
    pairs: list[TrainingPair],
    settings: MethodSettings,
    model_dir: str | Path,
    context: FitContext,
    *,
    processes: int = 1,
) -> None:
    """Fit method `key` on `pairs` and write it into `model_dir` (``model.json`` marks it complete).

    `settings` is the method's block of the configuration. A method with `trained` can use several
    `processes`, which divide the context's threads; other methods use one process.
    """
    Path(model_dir).mkdir(parents=True, exist_ok=True)
    if processes > 1 and method(key).trained:
        train_together(key, pairs, settings, Path(model_dir), context, processes)
        return
    method(key).fit(pairs, settings, Path(model_dir), context)

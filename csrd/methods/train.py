"""Fitting of one method on training pairs, by one process or several."""

from pathlib import Path

from csrd.methods import method
from csrd.methods.base import TrainingPair
from csrd.methods.together import train_together


def train(
    key: str,
    pairs: list[TrainingPair],
    settings: dict,
    model_dir: str | Path,
    *,
    threads: int = 1,
    processes: int = 1,
) -> None:
    """Fit method `key` on `pairs` and write it into `model_dir` (``model.json`` marks it whole).

    `settings` is the method's block of the configuration. A method that learns may do so in several
    `processes`; the others have no use for more than one.
    """
    Path(model_dir).mkdir(parents=True, exist_ok=True)
    if processes > 1 and method(key).learns_together:
        train_together(key, pairs, settings, model_dir, threads=threads, processes=processes)
        return
    method(key).fit(pairs, settings, Path(model_dir), threads=threads)

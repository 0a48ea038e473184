"""The train stage: fits one method on the training pairs, or takes one that was fitted before."""

from pathlib import Path

from csrd.config.methods import MethodSettings
from csrd.io.files import whole_file
from csrd.methods import method
from csrd.methods.base import MODEL_FILE, FitContext, TrainingPair
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
    """Fit method `key` on `pairs` and write it into `model_dir` (``model.json`` marks it whole).

    `settings` is the method's block of the configuration. A method that is `trained` can be so in several
    `processes`, which share the context's threads; other methods take one process.
    """
    Path(model_dir).mkdir(parents=True, exist_ok=True)
    if processes > 1 and method(key).trained:
        train_together(key, pairs, settings, Path(model_dir), context, processes)
        return
    method(key).fit(pairs, settings, Path(model_dir), context)


def bring(key: str, source: Path, model_dir: Path) -> None:
    """Copy a fitted method into `model_dir`, ``model.json`` last.

    Raises InputError where `source` holds no whole model of method `key`.
    """
    method(key).load(source)
    files = sorted(path for path in source.iterdir() if path.is_file())
    for path in sorted(files, key=lambda path: path.name == MODEL_FILE):
        with whole_file(model_dir / path.name) as temporary:
            temporary.write_bytes(path.read_bytes())

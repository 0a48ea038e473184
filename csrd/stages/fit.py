"""Fitting of one method on aligned subjects, or import of one that was fitted before."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from csrd.config.methods import MethodSettings
from csrd.io.bids import dose_of, find_aligned, subject_of
from csrd.io.files import whole_file
from csrd.methods import method
from csrd.methods.base import MODEL_FILE, FitContext, TrainingPair
from csrd.methods.train import train

Paths = Sequence[str | Path]


def fit(
    key: str,
    splits: Mapping[str, str],
    settings: MethodSettings,
    model_dir: str | Path,
    context: FitContext,
    *,
    lows: Paths,
    normals: Paths,
    mrs: Paths,
    masks: Paths,
    processes: int = 1,
) -> None:
    """Fit method `key` and write it into `model_dir`, ``model.json`` last.

    `splits` says of each subject whether to train or to validate on it. `lows` are the low doses of all
    subjects, the other images one a subject, in the order of `splits`. `settings` is the method's block of
    the configuration, `context` the seed, metrics and threads of the fit.
    """
    pairs = training_pairs(splits, lows=lows, normals=normals, mrs=mrs, masks=masks)
    train(key, pairs, settings, model_dir, context, processes=processes)


def training_pairs(
    splits: Mapping[str, str], *, lows: Paths, normals: Paths, mrs: Paths, masks: Paths
) -> list[TrainingPair]:
    """Return a pair for each low dose, by the subject and the dose in its file's name."""
    images = dict(zip(splits, zip(normals, mrs, masks, strict=True), strict=True))
    return [
        TrainingPair(name, dose_of(low), low, *images[name], splits[name])
        for low in lows
        for name in [subject_of(low)]
    ]


def aligned_pairs(root: Path, splits: Mapping[str, str], drfs: Iterable[int]) -> list[TrainingPair]:
    """Return the pairs of subjects by split, found by their names in a folder of derivatives."""
    return training_pairs(splits, **find_aligned(root, splits, drfs))


def import_model(key: str, source: str | Path, model_dir: str | Path) -> None:
    """Copy a fitted method into `model_dir`, ``model.json`` last.

    Raises InputError where `source` holds no complete model of method `key`.
    """
    source, model_dir = Path(source), Path(model_dir)
    method(key).load(source)
    files = sorted(path for path in source.iterdir() if path.is_file())
    for path in sorted(files, key=lambda path: path.name == MODEL_FILE):
        with whole_file(model_dir / path.name) as temporary:
            temporary.write_bytes(path.read_bytes())

"""Fitting of one method on aligned subjects, or import of one that was fitted before."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from csrd.config.methods import MethodSettings
from csrd.config.sections import Augment, Metrics
from csrd.extras import require
from csrd.io.bids import dose_of, find_aligned, subject_of
from csrd.io.files import read_json, whole_file, write_json
from csrd.methods import method as method_of
from csrd.methods.base import MODEL_FILE, FitContext, TrainingPair
from csrd.methods.base.train import train
from csrd.methods.learned import WEIGHTS_FILE, weights_of

Paths = Sequence[str | Path]


def fit(
    method: str,
    lows: Paths,
    normals: Paths,
    mrs: Paths,
    masks: Paths,
    *,
    model: str | Path,
    splits: Mapping[str, str],
    settings: MethodSettings | Mapping[str, Any],
    seed: int,
    metrics: Metrics,
    augment: Augment = Augment(),  # noqa: B008 # immutable
    threads: int = 1,
    processes: int = 1,
) -> None:
    """Fit a method and write it into a folder, ``model.json`` last; `model` is that file or the folder.

    `splits` is "train" or "validation" for each subject. `lows` are the low doses of all
    subjects, the other images one a subject, in the order of `splits`. `settings` is the method's block of
    the configuration; `metrics` are those to select by on validation subjects; `augment` says how training
    patches are changed.
    """
    kind = method_of(method)
    if kind.extra:
        require(kind.extra, f"fitting {kind.label}")
    if kind.selects and "validation" in splits.values():
        require("metrics", f"selecting {kind.label} on validation subjects")
    pairs = _pairs(splits, lows, normals, mrs, masks)
    block = (kind.Settings or MethodSettings).model_validate(settings)
    context = FitContext(seed, metrics, threads, augment)
    train(method, pairs, block, model_folder(model), context, processes=processes)


def aligned_pairs(root: Path, splits: Mapping[str, str], drfs: Iterable[int]) -> list[TrainingPair]:
    """Return the pairs of subjects by split, found by their names in a folder of derivatives."""
    return _pairs(splits, **find_aligned(root, splits, drfs))


def import_model(method: str, model: str | Path, model_out: str | Path) -> None:
    """Copy a fitted method, ``model.json`` last; `model` and `model_out` are that file or its folder.

    Raises InputError where `model` is not a complete model of the method.
    """
    source, target = model_folder(model), model_folder(model_out)
    method_of(method).load(source)
    card = read_json(source / MODEL_FILE)
    files = {path.name: path for path in source.iterdir() if path.is_file() and path.name != MODEL_FILE}
    if "weights" in card:  # of another model beside it
        files[WEIGHTS_FILE] = weights_of(source, card)
        del card["weights"]
    for name, path in sorted(files.items()):
        with whole_file(target / name) as temporary:
            temporary.write_bytes(path.read_bytes())
    write_json(target / MODEL_FILE, card)


def model_folder(model: str | Path) -> Path:
    """Return the folder of a fitted method, given by itself or by its ``model.json``."""
    return Path(model).parent if Path(model).name == MODEL_FILE else Path(model)


def _pairs(
    splits: Mapping[str, str], lows: Paths, normals: Paths, mrs: Paths, masks: Paths
) -> list[TrainingPair]:
    """Return a pair for each low dose, by the subject and the dose in its file's name."""
    images = dict(zip(splits, zip(normals, mrs, masks, strict=True), strict=True))
    pairs = []
    for low in lows:
        name, drf = subject_of(low), dose_of(low)
        assert drf is not None, f"the name of {low} has no dose"
        pairs.append(TrainingPair(name, drf, low, *images[name], splits[name]))
    return pairs

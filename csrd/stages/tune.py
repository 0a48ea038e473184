"""Fine-tuning of a model for a tracer, scanner or reconstruction: on pairs, or on one list-mode file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrd.align.head import head_mask
from csrd.config.sections import Recon
from csrd.errors import InputError, naming, notice
from csrd.io.files import sha256
from csrd.io.images import read_mr
from csrd.io.volume import Volume
from csrd.listmode import open_listmode
from csrd.listmode.draw import Part
from csrd.listmode.part import PartOfFile
from csrd.listmode.thin import drf_of
from csrd.methods import method as method_of
from csrd.methods.base import TrainingPair
from csrd.methods.base.denoise import Shown
from csrd.methods.base.surroundings import whole
from csrd.methods.csrd import Csrd
from csrd.pretrained import PACKAGED, packaged
from csrd.process import numba_threads, torch_threads
from csrd.progress import progress
from csrd.recon.embedded import estimated_scatter, reconstruct
from csrd.seeds import key64
from csrd.stages.denoiser import mr_on
from csrd.stages.fit import model_folder
from csrd.stages.scan import ScanFiles, loaded, refuse_no_mumap

if TYPE_CHECKING:
    from csrd.methods.learned.tuning import SplitScan, Tuning
    from csrd.train.checkpoint import StateFolder

Folds = tuple[int, ...]

PART = "part-{}.nii.gz"
FOLDS = 8
"""Equal folds that the events of a file are divided into."""
TRAINED, HELD_OUT = (0, 1, 2, 3, 4, 5), (6, 7)
"""The folds that are trained on, and those that decide how far the weights change."""
INPUTS = ((0, 1, 2, 3), (2, 3, 4, 5), (0, 1, 4, 5))
"""Folds of each low dose; its target has the others of `TRAINED`."""


def tune_on_pairs(
    method: str,
    pairs: Sequence[TrainingPair],
    *,
    model: str | Path,
    begin_with: str | Path,
    threads: int = 1,
    tuning: Tuning | None = None,
) -> dict:
    """Tune a model on pairs of split "train" and write it into a folder, ``model.json`` last.

    Each low dose is a thinning of its normal dose. Those of split "validation" decide how far the weights
    change. Returns what the card says of the tuning.
    Raises InputError where a split has no pairs, or where `begin_with` cannot be tuned.
    """
    import torch

    from csrd.methods.learned.tuning import SplitScan, Tuning

    base, tuning = _base(method, begin_with), tuning or Tuning()
    for split, option in (("train", "--subject"), ("validation", "--validation")):
        if not any(pair.split == split for pair in pairs):
            raise InputError(f"no subject is for {split}; give one with {option}")
    splits: dict[str, list[SplitScan]] = {"train": [], "validation": []}
    for pair in progress(pairs, "reading pairs"):
        found = pair.load()
        mr = found.mr if base.wants_mr else None
        with naming(f"{pair.subject} at 1/{pair.drf:g}"):
            splits[pair.split].append(SplitScan.of_thinning(found.low, found.normal, mr, pair.drf))
            _say_doubts(base, f"{pair.subject} at 1/{pair.drf:g}", found.low, mr)
    subjects = {split: sorted({p.subject for p in pairs if p.split == split}) for split in splits}
    tensors = [
        (f"{split} {number} {name}", torch.from_numpy(image.array))
        for split, scans in splits.items()
        for number, scan in enumerate(scans)
        for name, image in (("low", scan.low), ("rest", scan.rest), ("mr", scan.mr))
        if image is not None
    ]
    with _state(base, model, tuning, {}, tensors) as folder, torch_threads(threads):
        return _tune(base, splits["train"], splits["validation"], folder, model, {"on": subjects}, tuning)


def tune_on_listmode(
    method: str,
    listmode: str | Path,
    *,
    model: str | Path,
    begin_with: str | Path,
    recon: Recon,
    seed: int,
    subject: str,
    threads: int = 1,
    mr: str | Path | None = None,
    mumap: str | Path | None = None,
    normalisation: str | Path | None = None,
    sensitivity: str | Path | None = None,
    attenuation: bool = True,
    tuning: Tuning | None = None,
) -> dict:
    """Tune a model on one list-mode file and write it into a folder, ``model.json`` last.

    Random parts of its events, reconstructed, are the low doses, and other parts the targets. A quarter of
    the events decides how far the weights change. The other parameters are those of `csrd.stages.recon`.
    Returns what the card says of the tuning.
    Raises InputError where a file or `begin_with` cannot be used.
    """
    from csrd.methods.learned.tuning import Tuning

    base, tuning = _base(method, begin_with), tuning or Tuning()
    if base.wants_mr and mr is None:
        raise InputError(f"{method} needs the MR; give it with --mr, or tune csrdnomr")
    if recon.engine != "embedded":
        raise InputError(
            "parts of a list-mode file are reconstructed by the embedded engine, and recon.engine is "
            f"{recon.engine}; tune on pairs that your engine reconstructed"
        )
    given = {"mumap": mumap, "normalisation": normalisation, "sensitivity": sensitivity}
    files = ScanFiles.given(listmode, attenuation=attenuation, **given)
    opened = open_listmode(listmode)
    refuse_no_mumap(files)
    named = [*opened.files, *(Path(path) for path in (mr, mumap, normalisation, sensitivity) if path)]
    order = {"files": [sha256(path) for path in named if path.is_file()], "attenuation": attenuation}
    order |= {"recon": recon.model_dump(mode="json"), "seed": seed, "subject": subject}
    with _state(base, model, tuning, order) as folder, torch_threads(threads):
        pairs, held_out = [], []
        if not folder.finished():
            with numba_threads(threads):
                images = _images(files, recon, seed, subject, folder.path)
            low, anatomy = images[TRAINED], None
            if mr and base.wants_mr:
                anatomy = mr_on(low, head_mask(low), whole(low), read_mr(mr), str(listmode))[0]
            _say_doubts(base, str(listmode), low, anatomy)
            pairs = [_split(images, folds, _others(folds), anatomy) for folds in INPUTS]
            held_out = [_split(images, TRAINED, HELD_OUT, anatomy)]
        facts = {"on": Path(listmode).name, "listmode_sha256": sha256(named[0]), "recon": order["recon"]}
        said = _tune(base, pairs, held_out, folder, model, facts, tuning)
        for path in folder.path.glob(PART.format("*")):
            path.unlink()
        return said


def _base(key: str, begin_with: str | Path) -> Csrd:
    """Return the model that the tuning begins with.

    Raises InputError where it does not measure the noise.
    """
    kind = method_of(key)
    if not issubclass(kind, Csrd):
        raise InputError(f"{key} cannot be tuned; tune csrd or csrdnomr, or leave --from out")
    base = kind.load(_folder(key, begin_with))
    if not base.settings.measured:
        raise InputError(
            f"{begin_with} is a model of the doses that it was trained on, and only one that measures the "
            f"noise can be tuned; begin with --from {PACKAGED}"
        )
    return base


def _say_doubts(base: Csrd, name: str, low: Volume, mr: Volume | None) -> None:
    """Say in which ways a scan differs from those that the model was trained on, as `csrd denoise` does."""
    for doubt in Shown.to(base, low, mr).doubts():
        notice(f"{name}: {doubt}")


def _folder(key: str, begin_with: str | Path) -> Path:
    return packaged(key) if str(begin_with) == PACKAGED else model_folder(begin_with)


@contextmanager
def _state(
    base: Csrd, model: str | Path, tuning: Tuning, order: dict, tensors: list | None = None
) -> Iterator[StateFolder]:
    """Hold the state folder of a tuning, by everything that its result depends on."""
    from csrd.train.checkpoint import fingerprint, state_folder

    settings = {"begin_with": base.card["weights_sha256"], "method": base.key, "tuning": asdict(tuning)}
    folder = state_folder(model_folder(model), fingerprint({**settings, **order}, tensors or []))
    with folder.locked():
        yield folder


def _images(files: ScanFiles, recon: Recon, seed: int, subject: str, folder: Path) -> dict[Folds, Volume]:
    """Return the images of the parts by their folds; those that are in the folder are read."""
    parts = dict.fromkeys((TRAINED, HELD_OUT, *INPUTS, *map(_others, INPUTS)))
    paths = {folds: folder / PART.format("".join(map(str, folds))) for folds in parts}
    missing = {folds: path for folds, path in paths.items() if not path.exists()}
    if missing:
        listmode, drf, arrays, _, _ = loaded(files, recon, None, seed, subject)
        table = None
        if recon.estimates_scatter and arrays[0].array.any():
            table, _ = estimated_scatter(listmode, *arrays, recon, drf, seed, subject)
        for folds, path in progress(missing.items(), "parts of the events", total=len(missing)):
            part = PartOfFile.of(listmode, Part(key64(seed, subject, "parts"), folds, FOLDS))
            how = recon, drf_of(part), seed, subject
            reconstruct(part, *arrays, *how, scatter_table=table)[0].save(path)
    return {folds: Volume.load(path, "Bq/mL") for folds, path in paths.items()}


def _others(folds: Folds) -> Folds:
    """Return the folds of a low dose's target."""
    return tuple(fold for fold in TRAINED if fold not in folds)


def _split(images: dict[Folds, Volume], low: Folds, rest: Folds, mr: Volume | None) -> SplitScan:
    from csrd.methods.learned.tuning import SplitScan

    return SplitScan(images[low], images[rest], mr, len(low) / (len(low) + len(rest)))


def _tune(
    base: Csrd,
    pairs: list[SplitScan],
    held_out: list[SplitScan],
    folder: StateFolder,
    model: str | Path,
    facts: dict[str, Any],
    tuning: Tuning,
) -> dict:
    """Tune, and say in a sentence what came of it."""
    from csrd.methods.learned.tuning import tune

    said = tune(base, pairs, held_out, folder, model_folder(model), facts, tuning)
    if not said["fraction"]:
        notice("on what was held out the tuned weights are not surely better, so the model is unchanged")
    return said

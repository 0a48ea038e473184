"""The fit of every learned method: from training pairs to weights and a model card in a folder."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from csrd import __version__
from csrd.config.methods import LearnedSettings, Training
from csrd.config.sections import Augment
from csrd.errors import InputError
from csrd.io.files import sha256, whole_file
from csrd.methods.base import VOXEL_TOLERANCE, FitContext, LoadedPair, TrainingPair
from csrd.methods.learned import HISTORY_FILE, WEIGHTS_FILE, Learned
from csrd.process import torch_threads
from csrd.progress import progress
from csrd.train.checkpoint import (
    StateFolder,
    fingerprint,
    forget_others,
    load_weights,
    save_weights,
    state_folder,
)
from csrd.train.compiled import compile_for
from csrd.train.device import precision
from csrd.train.loop import Precision, averaged, train
from csrd.train.patches import Batch, Scan
from csrd.train.processes import Processes, processes

EMA_LENGTHS = (0.05, 0.10, 0.15, 0.20)
"""Lengths of the weights' moving average that are compared on the validation subjects."""


def fit(
    kind: type[Learned], pairs: list[TrainingPair], settings: LearnedSettings, out: Path, context: FitContext
) -> None:
    """Train on the pairs of split "train", select on those of "validation", write weights and card.

    Raises InputError where there is no training pair, or voxels of different sizes.
    """
    with torch_threads(context.threads), torch.random.fork_rng(_devices()):
        _fit(kind, pairs, settings, out, context)


def _fit(
    kind: type[Learned], pairs: list[TrainingPair], settings: LearnedSettings, out: Path, context: FitContext
) -> None:
    loaded = [canonical(pair.load()) for pair in pairs]
    training, validation = ([p for p in loaded if p.split == split] for split in ("train", "validation"))
    if not training:
        raise InputError(f"there is no training subject to fit {kind.key} on; set cohort.train to 1 or more")
    _refuse_other_voxels(loaded)
    method = kind(settings, kind.calibrated(training, settings), context.seed)
    method.augment = context.augment
    scans = [method.scan(pair) for pair in training]
    of_weights = {"method": kind.key, "seed": context.seed, "settings": method.trained_by()}
    if context.augment != Augment():
        of_weights["augment"] = context.augment.model_dump()
    folder = state_folder(out, fingerprint(of_weights, list(_tensors(scans, validation, kind.wants_mr))))
    with processes(method.device) as group, ExitStack() as held:
        _hold(folder, group, method.device, held)
        if not group.any(group.first and folder.finished() is not None, method.device):
            _train(method, scans, validation, folder, group)
        if group.first:
            _finish(method, validation, folder, out, context)


def _devices() -> list[int]:
    """Return the CUDA devices whose random state a training may change."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []


class ValidatedTraining:
    """The `csrd.train.loop.Task` of a method: its network and loss, and its errors on validation pairs."""

    def __init__(self, method: Learned, validation: list[LoadedPair]) -> None:
        self.method, self.network, self.validation = method, method.network, validation
        self.estimators = [method.estimator(pair) for pair in validation]

    def losses(self, batch: Batch) -> Tensor:
        return self.method.losses(batch)

    def validate(self) -> dict[str, float]:
        """Return the mean over pairs of `mae`, in the images' unit, and `psnr` in dB; {} without any pair.

        Both in the head's mask, the PSNR over the normal dose's maximum there.
        """
        errors = []
        for pair, estimator in zip(self.validation, self.estimators, strict=True):
            mask = pair.mask.array > 0
            error = (estimator() - pair.normal.array)[mask]
            psnr = 20 * np.log10(pair.normal.array[mask].max() / np.sqrt((error**2).mean()))
            errors.append((np.abs(error).mean(), psnr))
        return dict(zip(("mae", "psnr"), np.mean(errors, 0).tolist(), strict=True)) if errors else {}


def _hold(folder: StateFolder, group: Processes, device: torch.device, held: ExitStack) -> None:
    """Lock the state folder for the group; raise InputError in every process where that fails."""
    refused = None
    if group.first:
        try:
            held.enter_context(folder.locked())
        except InputError as error:
            refused = error
    if group.any(refused is not None, device):
        raise refused or InputError("the first process could not start; see its message")


def _train(
    method: Learned,
    scans: list[Scan],
    validation: list[LoadedPair],
    folder: StateFolder,
    group: Processes,
) -> None:
    """Train, select the average of weights, and mark the state folder as done."""
    torch.manual_seed(method.seed)
    method.network = network = method.build().to(method.device)
    compile_for(network, method.device)
    task, training = ValidatedTraining(method, validation), method.settings.training
    patches = method.patches([scan.to(method.device) for scan in scans])
    context = partial(precision, method.device, method.smallest_edge())
    shown = partial(progress, label=f"{method.key}: training")
    counters = train(task, patches, training, folder, precision=context, progress=shown, group=group)
    if not group.first:
        return
    selected = _select_average(task, folder, training, context)
    save_weights(folder.path / WEIGHTS_FILE, network.state_dict(), {"method": method.key})
    facts = {
        "fingerprint": folder.path.name,
        "version": __version__,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "weights_sha256": sha256(folder.path / WEIGHTS_FILE),
        "training": vars(counters),
        "augment": method.augment.model_dump(),
    }
    folder.finish({**facts, **selected})


def _finish(
    method: Learned, validation: list[LoadedPair], folder: StateFolder, out: Path, context: FitContext
) -> None:
    """Select settings with the final weights, and write the model."""
    facts = folder.finished()
    assert facts is not None, "the training is not finished"
    network = method.build()
    load_weights(folder.path / WEIGHTS_FILE, network)
    final = type(method)(method.settings, method.calibration, method.seed, network=network, card=facts)
    if validation:
        facts["selected"] = final.select(validation, context.metrics)
    for name in (WEIGHTS_FILE, HISTORY_FILE):
        with whole_file(out / name) as temporary:
            temporary.write_bytes((folder.path / name).read_bytes())
    method.write_model(out, method.card_of(facts))
    forget_others(folder)


def _select_average(
    task: ValidatedTraining, folder: StateFolder, training: Training, context: Precision
) -> dict[str, Any]:
    """Fill the network with the average of weights that is best on the validation subjects."""
    scores = {}
    weights: dict[float, dict[str, Tensor]] = {}
    parameters = dict(task.network.named_parameters())
    for std in EMA_LENGTHS:
        weights[std] = averaged(folder, training, std)
        _fill(parameters, weights[std])
        task.network.eval()
        with torch.no_grad(), context():
            scores[std] = task.validate()
    rated = {std: score["psnr"] for std, score in scores.items() if score}
    best = max(rated, key=rated.__getitem__) if rated else 0.05
    _fill(parameters, weights[best])
    return {"ema_std": best, "validation": {str(std): score for std, score in scores.items()}}


@torch.no_grad()
def _fill(parameters: dict[str, nn.Parameter], weights: dict[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])


def canonical(pair: LoadedPair) -> LoadedPair:
    """Return a pair whose axes run to right, anterior, superior, as networks and their mirrors need them."""
    mr = None if pair.mr is None else pair.mr.canonical()
    low, normal, mask = (image.canonical() for image in (pair.low, pair.normal, pair.mask))
    return replace(pair, low=low, normal=normal, mr=mr, mask=mask)


def _refuse_other_voxels(pairs: list[LoadedPair]) -> None:
    """Raise InputError where the pairs' voxels are not all of one size: a network has no unit of length."""
    first, *others = pairs
    for pair in others:
        if not np.allclose(pair.low.voxel_mm, first.low.voxel_mm, rtol=VOXEL_TOLERANCE):
            here, there = ("×".join(f"{mm:.3g}" for mm in one.low.voxel_mm) for one in (pair, first))
            raise InputError(
                f"{pair.subject} has voxels of {here} mm and {first.subject} of {there} mm; resample one to "
                "the other's, or leave it out"
            )


def _tensors(
    scans: list[Scan], validation: list[LoadedPair], wants_mr: bool
) -> Iterator[tuple[str, Tensor | str]]:
    """Yield by name every image that the weights and the selected settings depend on."""
    for i, scan in enumerate(scans):
        yield f"inputs {i}", scan.inputs
        yield f"target {i}", scan.target
        yield f"dose {i}", str((scan.dose, scan.unit, scan.left_right, scan.subject))
    for pair in validation:
        yield f"{pair.subject} {pair.drf} affine", torch.from_numpy(pair.low.affine)
        yield f"{pair.subject} {pair.drf} low", torch.from_numpy(pair.low.array)
        yield f"{pair.subject} normal", torch.from_numpy(pair.normal.array)
        yield f"{pair.subject} mask", torch.from_numpy(np.ascontiguousarray(pair.mask.array))
        if wants_mr and pair.mr is not None:
            yield f"{pair.subject} mr", torch.from_numpy(pair.mr.array)

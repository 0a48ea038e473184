"""What every learned method shares: from training pairs to weights in a folder, and back to a network."""

from abc import abstractmethod
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from csrd import __version__
from csrd.config import load
from csrd.errors import InputError
from csrd.io.files import sha256, whole_file
from csrd.io.volume import Volume
from csrd.methods.base import MODEL_FILE, VOXEL_TOLERANCE, Method, TrainingPair
from csrd.methods.scaling import Head, mr_channel
from csrd.progress import progress
from csrd.train.checkpoint import (
    StateFolder,
    fingerprint,
    forget_others,
    load_weights,
    save_weights,
    state_folder,
)
from csrd.train.device import EDGE, pick_device, precision
from csrd.train.loop import Plan, Task, averaged, train
from csrd.train.patches import Patches, Scan
from csrd.train.processes import processes

WEIGHTS_FILE, HISTORY_FILE = "weights.safetensors", "history.jsonl"
EMA_LENGTHS = (0.05, 0.10, 0.15, 0.20)
"""Lengths of the average of weights that are compared on the validation subjects."""


class Learned(Method):
    """A network fitted to training pairs. A subclass says what it sees, what it is, and how it is trained."""

    learns_together: ClassVar[bool] = True
    wants_mr: ClassVar[bool] = True
    after_training: ClassVar[tuple[str, ...]] = ()
    """Settings that no weight depends on: changing them does not train again."""

    def __init__(self, network: nn.Module, model: dict) -> None:
        self.model, self.settings = model, model["settings"]
        self.device = pick_device()
        self.network = network.to(self.device).eval()

    @classmethod
    @abstractmethod
    def build(cls, settings: dict) -> nn.Module:
        """Return the network, with its initial weights."""

    @classmethod
    @abstractmethod
    def learn(cls, pairs: list[TrainingPair], settings: dict) -> dict:
        """Return what is measured on the training pairs before any weight is trained, for ``model.json``."""

    @classmethod
    @abstractmethod
    def residual_unit(cls, low: Volume, head: Head, drf: float, settings: dict, learned: dict) -> float:
        """Return how much of the PET's unit one unit of the network's residual is."""

    @classmethod
    @abstractmethod
    def task(cls, network: nn.Module, settings: dict, learned: dict, validation: list[TrainingPair]) -> Task:
        """Return the network with its loss and its figures on the validation pairs."""

    @classmethod
    @abstractmethod
    def patches(cls, scans: list[Scan], settings: dict) -> Patches:
        """Return the source of training patches."""

    @classmethod
    def smallest_edge(cls, network: nn.Module, settings: dict) -> int:
        """Return the edge in voxels of the smallest feature maps in training (see `precision`)."""
        return EDGE

    @classmethod
    def trained_by(cls, settings: dict) -> dict:
        """Return the settings that the weights depend on."""
        return {name: value for name, value in settings.items() if name not in cls.after_training}

    @classmethod
    def settle(cls, method: Self, validation: list[TrainingPair]) -> dict:
        """Return what is chosen on the validation pairs once the weights are final, for ``model.json``."""
        return {}

    @classmethod
    def inputs(cls, low: Volume, mr: Volume | None, head: Head) -> np.ndarray:
        """Return what the network sees of a scan, in units that do not depend on the scanner: (C, X, Y, Z).

        Raises InputError for a method that needs an MR and gets none.
        """
        channels = [low.array / np.float32(head.scale)]
        if cls.wants_mr:
            if mr is None:
                raise InputError(f"{cls.key} needs the MR; give it with --mr, or use a method without MR")
            channels.append(mr_channel(mr, low, head))
        return np.stack(channels).astype(np.float32)

    @classmethod
    def fit(cls, pairs: list[TrainingPair], settings: dict, out_dir: Path, *, threads: int = 1) -> None:
        """Train on the pairs of split "train", choose on those of "validation", write weights and card.

        Goes on where an earlier call with the same settings and images was interrupted.
        Raises InputError where there is nothing to train on, voxels differ in size, or another process trains
        the same model.
        """
        torch.set_num_threads(threads)
        pairs = [_canonical(pair.load()) for pair in pairs]
        training = [pair for pair in pairs if pair.split == "train"]
        validation = [pair for pair in pairs if pair.split == "validation"]
        if not training:
            raise InputError(
                f"there is no training subject to fit {cls.key} on; set cohort.train to 1 or more"
            )
        _refuse_other_voxels(pairs)
        learned = cls.learn(training, settings) | {"voxel_mm": training[0].low.voxel_mm.tolist()}
        scans = [cls.scan(pair, settings, learned) for pair in training]
        key = fingerprint(
            {"method": cls.key, **cls.trained_by(settings)}, list(_tensors(scans, validation, cls))
        )
        folder, device = state_folder(Path(out_dir), key), pick_device()
        with processes(device) as group, ExitStack() as held:
            refused = None
            if group.first:
                try:
                    held.enter_context(folder.locked())
                except InputError as error:
                    refused = error
            if group.any(refused is not None, device):
                raise refused or InputError("the first process could not start; see what it says")
            if not group.any(group.first and folder.finished() is not None, device):
                cls._train(scans, validation, settings, learned, folder, device, group)
            if group.first:
                cls._finish(folder, settings, validation, Path(out_dir))

    @classmethod
    def _train(cls, scans, validation, settings, learned, folder: StateFolder, device, group) -> None:
        """Train, choose the average of weights, and mark the state folder as done."""
        torch.manual_seed(settings["seed"])
        network = cls.build(settings).to(device)
        if device.type == "cuda":
            network.compile()
        task = cls.task(network, settings, learned, validation)
        patches = cls.patches([scan.to(device) for scan in scans], settings)
        plan = Plan(**settings["training"])
        context = partial(precision, device, cls.smallest_edge(network, settings))
        shown = partial(progress, label=f"{cls.key}: training")
        counters = train(task, patches, plan, folder, precision=context, progress=shown, group=group)
        if not group.first:
            return
        chosen = _choose_average(task, folder, plan, context)
        save_weights(folder.path / WEIGHTS_FILE, network.state_dict(), {"method": cls.key})
        facts = {
            "learned": learned,
            "fingerprint": folder.path.name,
            "version": __version__,
            "parameters": sum(weight.numel() for weight in network.parameters()),
            "weights_sha256": sha256(folder.path / WEIGHTS_FILE),
            "training": vars(counters),
        }
        folder.finish({**facts, **chosen})

    @classmethod
    def _finish(cls, folder: StateFolder, settings: dict, validation: list[TrainingPair], out: Path) -> None:
        """Choose what is chosen once the weights are final, and write the model."""
        model = {"settings": settings, **folder.finished()}
        network = cls.build(settings)
        load_weights(folder.path / WEIGHTS_FILE, network)
        if validation:
            model["chosen"] = cls.settle(cls(network, model), validation)
        for name in (WEIGHTS_FILE, HISTORY_FILE):
            _copy(folder.path / name, out / name)
        cls.write_model(out, model)
        forget_others(folder)

    @classmethod
    def load(cls, model_dir: Path) -> Self:
        """Return the method with the weights in `model_dir`.

        Raises InputError where they are missing, damaged, or of another network than ``model.json`` says.
        """
        model = cls.read_model(model_dir)
        if not {"settings", "learned"} <= set(model):
            raise InputError(f"{Path(model_dir) / MODEL_FILE} lacks its settings; train the method again")
        if lacking := load({}).of_method(cls.key).keys() - model["settings"].keys():
            names, older = ", ".join(sorted(lacking)), model.get("version")
            raise InputError(
                f"{Path(model_dir) / MODEL_FILE} lacks the settings {names}: "
                f"it was fitted by version {older}; fit it again by this one"
            )
        network = cls.build(model["settings"])
        load_weights(Path(model_dir) / WEIGHTS_FILE, network)
        return cls(network, model)

    @property
    def moves(self) -> tuple[int, ...]:
        """Return by how many voxels the scan is moved up in the views of which the image is the mean."""
        return (0, 1) if self.settings["shift"] else (0,)

    @property
    def voxel_mm(self) -> np.ndarray | None:
        known = self.model["learned"].get("voxel_mm")
        return None if known is None else np.array(known)

    def move(self, device: str) -> None:
        try:
            self.device = pick_device(device)
        except RuntimeError as error:
            raise InputError(str(error)) from None
        self.network = self.network.to(self.device)

    def facts(self) -> dict:
        return {"WeightsSha256": self.model.get("weights_sha256"), "Seed": self.settings["seed"]}

    @classmethod
    def scan(cls, pair: TrainingPair, settings: dict, learned: dict) -> Scan:
        """Return a training pair in the network's units."""
        head = Head.of(pair.low)
        unit = cls.residual_unit(pair.low, head, pair.drf, settings, learned)
        target = ((pair.low.array - pair.normal.array) / np.float32(unit)).astype(np.float32)[None]
        inputs = cls.inputs(pair.low, pair.mr, head)
        return Scan(
            torch.from_numpy(inputs),
            torch.from_numpy(target),
            float(np.log(pair.drf)),
            unit / head.scale,
            subject=pair.subject,
        )


def validation_errors(pairs: list[TrainingPair], images: Iterable[np.ndarray]) -> dict[str, float]:
    """Return the mean over pairs of `mae`, in the images' unit, and `psnr` in dB, of their denoised images.

    Both in the head's mask, the PSNR over the normal dose's maximum there; {} where there are no pairs.
    """
    errors = []
    for pair, image in zip(pairs, images, strict=True):
        mask = pair.mask.array > 0
        error = (image - pair.normal.array)[mask]
        psnr = 20 * np.log10(pair.normal.array[mask].max() / np.sqrt((error**2).mean()))
        errors.append((np.abs(error).mean(), psnr))
    return dict(zip(("mae", "psnr"), np.mean(errors, 0).tolist(), strict=True)) if errors else {}


def _canonical(pair: TrainingPair) -> TrainingPair:
    """Return a pair whose axes run to right, anterior, superior: what networks and their mirrors know."""
    mr = None if pair.mr is None else pair.mr.canonical()
    low, normal, mask = (image.canonical() for image in (pair.low, pair.normal, pair.mask))
    return replace(pair, low=low, normal=normal, mr=mr, mask=mask)


def _refuse_other_voxels(pairs: list[TrainingPair]) -> None:
    """Raise InputError where the pairs' voxels are not all of one size: a network knows no millimetres."""
    first, *others = pairs
    for pair in others:
        if not np.allclose(pair.low.voxel_mm, first.low.voxel_mm, rtol=VOXEL_TOLERANCE):
            here, there = ("×".join(f"{mm:.3g}" for mm in one.low.voxel_mm) for one in (pair, first))
            raise InputError(
                f"{pair.subject} has voxels of {here} mm and {first.subject} of {there} mm; resample one to "
                "the other's, or leave it out"
            )


def _tensors(scans: list[Scan], validation: list[TrainingPair], cls: type[Learned]):
    """Yield by name everything that the weights, and what is chosen afterwards, depend on."""
    for i, scan in enumerate(scans):
        yield f"inputs {i}", scan.inputs
        yield f"target {i}", scan.target
        yield f"dose {i}", str((scan.dose, scan.unit, scan.left_right, scan.subject))
    for pair in validation:
        yield f"{pair.subject} {pair.drf} affine", torch.from_numpy(pair.low.affine)
        yield f"{pair.subject} {pair.drf} low", torch.from_numpy(pair.low.array)
        yield f"{pair.subject} normal", torch.from_numpy(pair.normal.array)
        yield f"{pair.subject} mask", torch.from_numpy(np.ascontiguousarray(pair.mask.array))
        if cls.wants_mr:
            yield f"{pair.subject} mr", torch.from_numpy(pair.mr.array)


def _choose_average(task: Task, folder: StateFolder, plan: Plan, context) -> dict:
    """Fill the network with the average of weights that the validation subjects like best."""
    scores = {}
    weights: dict[float, dict[str, Tensor]] = {}
    parameters = dict(task.network.named_parameters())
    for std in EMA_LENGTHS:
        weights[std] = averaged(folder, plan, std)
        _fill(parameters, weights[std])
        task.network.eval()
        with torch.no_grad(), context():
            scores[std] = task.validate()
    rated = {std: score["psnr"] for std, score in scores.items() if score}
    best = max(rated, key=rated.get) if rated else 0.05
    _fill(parameters, weights[best])
    return {"ema_std": best, "validation": {str(std): score for std, score in scores.items()}}


@torch.no_grad()
def _fill(parameters: dict[str, nn.Parameter], weights: dict[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])


def _copy(source: Path, target: Path) -> None:
    with whole_file(target) as temporary:
        temporary.write_bytes(source.read_bytes())

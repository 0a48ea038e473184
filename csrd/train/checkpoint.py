"""The state of a training: complete files, identified by a fingerprint and locked for one process."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from csrd.errors import InputError
from csrd.io.files import read_json, whole_file, write_json
from csrd.io.locks import lock

VERSION = 3
"""To be increased when the same settings and data would train other weights: every method is retrained."""

STATE, HISTORY, DONE, LOCK = "state.safetensors", "history.jsonl", "done.json", "lock"


def fingerprint(settings: dict, inputs: list[tuple[str, Tensor | str]]) -> str:
    """Return the key of a training: SHA-256 over settings, code version and every input tensor's bytes."""
    digest = hashlib.sha256(json.dumps([VERSION, settings], sort_keys=True).encode())
    for name, value in inputs:
        digest.update(f"\0{name}\0".encode())
        if isinstance(value, str):
            digest.update(value.encode())
        else:
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()


class StateFolder:
    """The folder of an unfinished training: weights, moments, averages, history."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state, self.history, self.done = path / STATE, path / HISTORY, path / DONE

    @contextmanager
    def locked(self) -> Iterator["StateFolder"]:
        """Hold the folder, and those of the same model beside it, for this process, with which the lock ends.

        One lock for all settings of a model: two trainings would end in one folder of weights.
        Raises InputError where another process holds it, or the folder cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path.parent / LOCK, "a+")  # noqa: SIM115
        except OSError as error:
            raise InputError(
                f"cannot write {self.path} ({error.strerror}); choose another output folder"
            ) from None
        with file:
            try:
                lock(file)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise InputError(
                    f"{self.path.parent} is in use by {owner}; wait until it has finished, or end it"
                ) from None
            except OSError as error:
                raise InputError(
                    f"{file.name} cannot be locked ({error.strerror}); use a local disk"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            for path in self.path.glob("*_part*"):  # incomplete files of a killed process
                path.unlink()
            yield self

    def save(self, tensors: dict[str, Tensor], facts: dict) -> None:
        """Write the state: named tensors, and facts that JSON can hold."""
        save_tensors(self.state, tensors, {"facts": json.dumps(facts)})

    def load(self, device: torch.device) -> tuple[dict[str, Tensor], dict] | None:
        """Return the saved tensors and facts, or None where there are none."""
        if not self.state.exists():
            return None
        return load_tensors(self.state, device)

    def snapshot(self, step: int, std: float) -> Path:
        """Return the path of the average of length `std` at `step`."""
        return self.path / f"average-{step:08d}-{std:.3f}.safetensors"

    def append_history(self, record: dict) -> None:
        """Add a line to the history.

        Raises InputError where the disk is full.
        """
        try:
            with open(self.history, "a") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise InputError(
                f"cannot write {self.history} ({error.strerror}); free some space and start again to continue"
            ) from None

    def cut_history(self, step: int) -> None:
        """Remove later steps from the history, since they will be repeated."""
        kept = [line for line in self.read_history() if line["step"] <= step]
        with whole_file(self.history) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def read_history(self) -> list[dict]:
        """Return the history's lines; a last one that was cut short by a kill is left out."""
        lines = self.history.read_text().splitlines() if self.history.exists() else []
        records = []
        for line in lines:
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def finish(self, facts: dict) -> None:
        """Mark the training as done, and delete the files that were needed only for continuing."""
        write_json(self.done, facts)
        for path in (self.state, *self.path.glob("average-*.safetensors")):
            path.unlink(missing_ok=True)

    def finished(self) -> dict | None:
        """Return the facts that `finish` wrote, or None."""
        return read_json(self.done) if self.done.exists() else None


def state_folder(model_dir: Path, key: str) -> StateFolder:
    """Return the state folder of a model: beside its folder, which a workflow may delete at any time."""
    return StateFolder(model_dir.parent / f".{model_dir.name}-training" / key[:16])


def forget_others(folder: StateFolder) -> None:
    """Delete the states of the same model with other keys, which are no longer needed.

    To be called while the folder is locked.
    """
    for path in folder.path.parent.iterdir():
        if path != folder.path and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def save_weights(path: Path, weights: dict[str, Tensor], card: dict) -> None:
    """Write a network's weights with their card in the file's header."""
    save_tensors(path, {k: v.detach().cpu() for k, v in weights.items()}, {"card": json.dumps(card)})


def load_weights(path: Path, network: torch.nn.Module) -> None:
    """Fill a network from a file of `save_weights`.

    Raises InputError where the file is missing, damaged, or of another network.
    """
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; train the method again") from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a readable weights file ({error}); train again, or copy it again"
        ) from None
    wanted = network.state_dict()
    wrong = [k for k in wanted if k not in weights or weights[k].shape != wanted[k].shape]
    if wrong or len(weights) != len(wanted):
        what = wrong[0] if wrong else next(k for k in weights if k not in wanted)
        raise InputError(
            f"{path} is of another network (see {what}); use it with the model.json it was trained with"
        )
    network.load_state_dict(weights)


def save_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write named tensors, completely or not at all.

    Raises InputError where the disk is full.
    """
    with whole_file(path) as temporary:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, header)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        temporary.chmod(0o644)  # safetensors lets the owner alone read


def load_tensors(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors in a state file and its facts.

    Raises InputError where the file is damaged.
    """
    try:
        with safe_open(path, "pt", str(device)) as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()["facts"])
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); delete its folder and train again") from None

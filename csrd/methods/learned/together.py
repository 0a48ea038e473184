"""Training in several processes: torchrun starts them, and each runs this module."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from csrd import errors
from csrd.config.methods import MethodSettings
from csrd.config.sections import Augment, Metrics
from csrd.io.files import read_json, write_json
from csrd.methods.base import FitContext, TrainingPair

GRACE_S = 2.0  # time for a scheduler's own signal to every process; then SIGTERM is passed on


def train_together(
    key: str,
    pairs: list[TrainingPair],
    settings: MethodSettings,
    model_dir: Path,
    context: FitContext,
    processes: int,
) -> None:
    """Fit method `key` in `processes` processes, each with its part of the threads, or an accelerator.

    The images of `pairs` are paths. On SIGTERM its state is saved, as in a training of one process.
    Raises the CsrdError that a process ended with.
    """
    with TemporaryDirectory(prefix="csrd-train-") as folder:
        order = Path(folder) / "order.json"
        content = {
            "method": key,
            "pairs": [{name: _plain(value) for name, value in asdict(pair).items()} for pair in pairs],
            "settings": settings.model_dump(mode="json"),
            "model_dir": str(model_dir),
            "seed": context.seed,
            "metrics": context.metrics.model_dump(mode="json"),
            "augment": context.augment.model_dump(mode="json"),
            "threads": max(context.threads // processes, 1),
        }
        write_json(order, content)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = [*launcher, f"--nproc-per-node={processes}", "-m", __name__, str(order)]
        running = subprocess.Popen(
            command,
            stdout=sys.stdout,
            stderr=sys.stderr,
            env=os.environ | {"OMP_NUM_THREADS": str(content["threads"])},
        )
        with _ending_too(running):
            status = running.wait()
        for refused in sorted(Path(folder).glob("refused-*")):
            kind, sentence = read_json(refused).values()
            raise getattr(errors, kind)(sentence)
    if status:
        raise RuntimeError(f"the processes that train {key} ended with status {status}; see their messages")


def work(order: Path) -> None:
    """Do one process's part of the training in `order`; write a CsrdError's class and sentence beside it."""
    from csrd.methods import method

    content = read_json(order)
    kind, pairs = method(content["method"]), [TrainingPair(**pair) for pair in content["pairs"]]
    augment = Augment(**content["augment"])
    context = FitContext(content["seed"], Metrics(**content["metrics"]), content["threads"], augment)
    assert kind.Settings is not None, f"{kind.key} is not fitted"
    try:
        with errors.shown_messages():
            kind.fit(pairs, kind.Settings(**content["settings"]), Path(content["model_dir"]), context)
    except errors.CsrdError as error:
        said = {"error": type(error).__name__, "sentence": str(error)}
        write_json(order.with_name(f"refused-{os.environ['RANK']}"), said)
        sys.exit(1)


@contextmanager
def _ending_too(running: subprocess.Popen) -> Iterator[None]:
    """Pass a SIGTERM on to `running`, unless it ends by itself."""

    def end(*_) -> None:
        until = time.monotonic() + GRACE_S
        while running.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        if running.poll() is None:
            running.terminate()

    try:
        previous = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread, where signals never arrive
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _plain(value: object) -> object:
    return str(Path(value).absolute()) if isinstance(value, Path) else value


if __name__ == "__main__":
    work(Path(sys.argv[1]))

"""The rows of benchmarks/ablation.py: from the paper's recipe to the default, one idea a row."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from csrd.config import load
from csrd.errors import InputError

PAPER = Path(__file__).parents[1] / "config" / "paper.yaml"
KEEP = object()
"""The default's value of a setting."""
SIZE = {"channels": [8, 16, 16], "blocks": 1, "patch": 32, "training.batch": 4}
"""The size at which the paper's recipe takes some hundred steps in three minutes of one core."""

LADDER: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("small", "the paper's recipe at a size for one core", SIZE),
    ("standardise", "the residual over its spread at the dose", {"standardise": KEEP}),
    ("levels", "noise levels up to ten times the residual",
     {"P_std": KEEP, "sampler.sigma_min": KEEP, "sampler.sigma_max": 5.0}),
    ("blank", "the posterior mean is trained: patches without noisy residual", {"blank": KEEP}),
    ("sampler", "samples from the mean in 4 steps, without churn",
     {f"sampler.{key}": KEEP for key in
      ("steps", "sigma_max", "rho", "S_churn", "S_min", "S_max", "S_noise")}),
    ("resunet", "a network without normalisation, its gradients cut; it is told the dose, and has no dropout",
     {key: KEEP for key in ("network", "dropout", "dose", "training.clip")}),
    ("stem", "2 × 2 × 2 voxels folded, and the channels that this pays for",
     {"stem": KEEP, "channels": KEEP}),
    ("rate", "that network's learning rate and its decay",
     {f"training.{key}": KEEP for key in ("lr", "beta2", "ramp", "decay")}),
    ("mirror", "the mean over head and mirror image", {"mirror": KEEP}),
    ("default", "and over either a voxel further", {"shift": KEEP}),
)  # fmt: skip
"""Name, idea and settings of each row; each changes the row before it, the first one the paper's preset."""

VARIANTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("no-coordinates", "the network is not told where it looks", {"coordinates": False}),
    ("no-standardise", "the residual over the image's robust maximum", {"standardise": False}),
    ("no-stem", "no voxels folded, as many channels as take the same time",
     {"stem": 1, "channels": SIZE["channels"]}),
    ("fine", "no voxels folded, the same channels", {"stem": 1}),
    ("no-decay", "the learning rate does not fall", {"training.decay": 0.0}),
    ("half-rate", "half the learning rate", {"training.lr": 0.0005}),
    ("mixed", "noise at mixed doses", {"mixed": 0.3}),
    ("blank-half", "half of the patches see no residual", {"blank": 0.5}),
    ("narrow", "half the channels", {"channels": [16, 32, 32]}),
    ("wide", "half as many channels again", {"channels": [48, 96, 96]}),
    ("deep", "two blocks a resolution", {"blocks": 2}),
    ("two-levels", "one resolution less", {"channels": [32, 64]}),
    ("four-levels", "one resolution more", {"channels": [32, 64, 64, 64]}),
    ("patch-48", "larger patches", {"patch": 48}),
    ("batch-2", "half as many patches a step", {"training.batch": 2}),
    ("batch-8", "twice as many patches a step", {"training.batch": 8}),
)  # fmt: skip
"""Each changes the default."""


@dataclass(frozen=True)
class Row:
    """A row: its settings, and by what they differ from those of the row named `after` (before, now)."""

    name: str
    idea: str
    settings: dict[str, Any]
    after: str = ""
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def rows() -> list[Row]:
    """Return the low dose, the paper's preset, the ladder from it to the default, and its variants."""
    paper, default = of_csrd(yaml.safe_load(PAPER.read_text())), of_csrd({})
    found = [Row("lowdose", "the input", {}), Row("paper", "the paper's preset", paper)]
    for name, idea, changes in LADDER:
        found.append(changed(found[-1], name, idea, changes, default))
    last = found[-1]
    left = [key for key, value in flat(default).items() if flat(last.settings)[key] != value]
    assert left == ["training.steps"], f"the ladder ends elsewhere than at the default: {left}"
    return found + [changed(last, name, idea, changes, default) for name, idea, changes in VARIANTS]


def of_csrd(values: dict[str, Any]) -> dict[str, Any]:
    """Return CSR-D's settings in a configuration."""
    return load(values).of_method("csrd").model_dump(mode="json")


def chosen(asked: Iterable[str] | None) -> list[Row]:
    """Return the rows by name, in their order; all where none is asked for.

    Raises InputError for a name that is none.
    """
    known = {row.name: row for row in rows()}
    asked = set(asked or known)
    if unknown := asked - set(known):
        raise InputError(f"there is no row {min(unknown)}; the rows are {', '.join(known)}")
    return [row for name, row in known.items() if name in asked]


def changed(row: Row, name: str, idea: str, changes: dict[str, Any], default: dict) -> Row:
    """Return the row that follows another by the changes, each of which must be one.

    Raises InputError where the settings do not fit each other.
    """
    before, known = flat(row.settings), flat(default)
    values = {key: known[key] if value is KEEP else value for key, value in changes.items()}
    same = [key for key, value in values.items() if before[key] == value]
    assert not same, f"{name}: {same} do not differ from {row.name}"
    settings = of_csrd({"csrd": nested(before | values)})
    return Row(name, idea, settings, row.name, {key: (before[key], value) for key, value in values.items()})


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {"training": {"lr": 1}} as {"training.lr": 1}."""
    pairs: dict[str, Any] = {}
    for key, value in settings.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return pairs


def nested(pairs: dict[str, Any]) -> dict[str, Any]:
    """Return what `flat` was made of."""
    settings: dict[str, Any] = {}
    for key, value in pairs.items():
        *outer, last = key.split(".")
        block = settings
        for name in outer:
            block = block.setdefault(name, {})
        block[last] = value
    return settings


def difference(changes: dict[str, tuple[Any, Any]]) -> list[str]:
    """Return a text a setting: its value before, and now."""
    return [f"`{key}` {_shown(before)} → {_shown(now)}" for key, (before, now) in changes.items()]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

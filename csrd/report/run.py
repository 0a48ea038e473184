"""What a run was made of, for whoever wants to repeat it: versions, seed, configuration, inputs, outcome."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from csrd.io.files import checksums, read_json, write_json

OF_A_MODEL = ("fingerprint", "weights_sha256")  # what a model's record says of how it came about


def write_run(
    out: str | Path,
    settings: Mapping,
    *,
    versions: list[tuple[str, str]],
    subjects: Mapping[str, str | Path],
    tables: list[str | Path],
    models: Mapping[str, str | Path],
    metrics: str | Path,
) -> dict:
    """Write ``run.json``, and return what is in it.

    `settings` is the whole configuration; `subjects` names each subject's record of its scan's files
    (`checksums`), `tables` the study's own tables, `models` each fitted method's ``model.json``. Runs
    with equal ``config_sha256`` and ``inputs`` on one machine at the same threads have equal ``outcome``.
    """
    record = {
        "versions": dict(versions),
        "machine": {"platform": platform.platform(), "processors": os.cpu_count()},
        "seed": settings["seed"],
        "config": dict(settings),
        "config_sha256": config_sha256(settings),
        "inputs": {"study": checksums(tables), **{name: read_json(path) for name, path in subjects.items()}},
        "outcome": {
            "models": {
                method: {key: value for key, value in read_json(path).items() if key in OF_A_MODEL}
                for method, path in models.items()
            },
            "metrics_sha256": checksums([metrics])[str(metrics)]["sha256"],
        },
    }
    write_json(out, record)
    return record


def config_sha256(settings: Mapping) -> str:
    """Return the SHA-256 of a configuration; where results lie is no part of it, nor is the order of keys."""
    kept = {key: value for key, value in settings.items() if key != "results_dir"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

"""Preparation and import of a training on a GPU machine, on the machine with the project's packages.

    python benchmarks/gpu/home.py pack RESULTS PACK.npz [--config config/config.yaml] [--method csrd]
    python benchmarks/gpu/home.py unpack OUT MODEL PACK.npz
    python benchmarks/gpu/home.py heads HEADS.npz [--config config/gpu.yaml]

`pack` writes a cohort's aligned pairs of training and validation for `useful.py`; `unpack` makes a model
folder of what came back, for `csrd denoise --model MODEL`. `heads` writes the virtual subjects for
`scans.py`, on the reconstruction's voxels.
"""

import argparse
from pathlib import Path

import numpy as np
import yaml
from cohort_heads import Head, write_heads
from pack import write_pack
from safetensors.torch import load_file

from csrd import __version__, cohort
from csrd.config import load
from csrd.io.files import read_json, sha256, write_json
from csrd.methods import method as method_of
from csrd.methods.base import MODEL_FILE
from csrd.methods.learned import HISTORY_FILE, WEIGHTS_FILE
from csrd.methods.learned.fitting import canonical
from csrd.resample import resample
from csrd.stages.fit import aligned_pairs
from csrd.train.checkpoint import load_weights, save_weights
from csrd.virtual import tracer
from csrd.virtual.anatomy import make_anatomy
from csrd.virtual.mr import simulate_mr

SPLITS = "train", "validation"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("pack")
    one.add_argument("results", type=Path)
    one.add_argument("pack", type=Path)
    one.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    one.add_argument("--method", default="csrd")
    other = commands.add_parser("unpack")
    other.add_argument("out", type=Path)
    other.add_argument("model", type=Path)
    other.add_argument("pack", type=Path)
    third = commands.add_parser("heads")
    third.add_argument("heads", type=Path)
    third.add_argument("--config", type=Path, default=Path("config/gpu.yaml"))
    given = parser.parse_args()
    if given.command == "heads":
        write_heads(given.heads, [head_of(one, given.config) for one in virtual_subjects(given.config)])
    elif given.command == "pack":
        pack(given.results, given.pack, given.config, given.method)
    else:
        unpack(given.out, given.model, given.pack)


def pack(results: Path, out: Path, config: Path, key: str) -> None:
    """Write the aligned pairs in a method's units; its settings and calibration beside them as JSON."""
    settings = load(yaml.safe_load(config.read_text()))
    splits = {one.id: one.split for one in cohort.subjects(settings) if one.split in SPLITS}
    found = aligned_pairs(results / "derivatives" / "csrd", splits, settings.train_drfs)
    pairs = [canonical(pair.load()) for pair in found]
    kind, block = method_of(key), settings.of_method(key)
    calibration = kind.calibrated([pair for pair in pairs if pair.split == "train"], block)
    method = kind(block, calibration, settings.seed)
    write_pack(out, [(method.scan(pair), pair.mask.array > 0, pair.split) for pair in pairs])
    content = {"method": key, "seed": settings.seed, "settings": block.model_dump(mode="json"),
               "calibration": calibration.model_dump(mode="json")}  # fmt: skip
    write_json(out.with_suffix(".json"), content)


def virtual_subjects(config: Path) -> list[cohort.Subject]:
    """Return the configuration's virtual subjects."""
    return list(cohort.subjects(load(yaml.safe_load(config.read_text()))))


def head_of(subject: cohort.Subject, config: Path) -> Head:
    """Return a subject's activity, μ-map and MR, the MR on the PET's grid by its true matrix."""
    settings = load(yaml.safe_load(config.read_text()))
    anatomy = make_anatomy(settings.seed, subject.id, settings.recon.voxel_mm)
    mr, mr_to_pet = simulate_mr(anatomy, settings.seed, subject.id)
    person = subject.injected_MBq, subject.weight_kg, settings.acquisition.start_s
    pet, _ = tracer.activity(
        anatomy,
        tracer.read_tracer(settings.cohort.tracer),
        settings.seed,
        subject.id,
        *person,
        tested=subject.split == "test",
    )
    on_pet = resample(mr, anatomy.mumap, np.linalg.inv(mr_to_pet))
    return Head(subject.id, subject.split, pet, anatomy.mumap, on_pet)


def unpack(out: Path, model: Path, pack: Path) -> None:
    """Write the model folder of a training in `out` (gpu.json and weights) on the scans of `pack`."""
    facts, trained = read_json(pack.with_suffix(".json")), read_json(out / "gpu.json")["useful"]["training"]
    kind = method_of(facts["method"])
    method = kind(kind.Settings(**facts["settings"]), kind.Calibration(**facts["calibration"]), facts["seed"])
    weights = {}
    for file in trained["files"]:
        weights |= load_file(out / file)
    model.mkdir(parents=True, exist_ok=True)
    save_weights(model / WEIGHTS_FILE, weights, {"method": kind.key})
    load_weights(model / WEIGHTS_FILE, method.build())  # says where the network is another
    (model / HISTORY_FILE).write_text((out / HISTORY_FILE).read_text())
    card = {
        "fingerprint": f"on a GPU, commit {read_json(out / 'gpu.json')['commit']}",
        "version": __version__,
        "parameters": trained["parameters"],
        "weights_sha256": sha256(model / WEIGHTS_FILE),
        "training": trained["counters"],
        "ema_std": trained["ema_std"],
        "validation": trained["validation"],
    }
    kind.write_model(model, method.card_of(card))
    print(f"{model / MODEL_FILE}: {kind.label}, {trained['steps']} steps")


if __name__ == "__main__":
    main()

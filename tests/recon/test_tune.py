"""Tuning on one list-mode file: from events to a folder that denoises; what is kept between starts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from csrd.errors import InputError
from csrd.io.files import read_json, sha256
from csrd.listmode import open_listmode
from csrd.listmode.draw import Part
from csrd.listmode.events import DELAYED
from csrd.listmode.part import PartOfFile
from csrd.listmode.thin import drf_of
from csrd.methods import method
from csrd.methods.csrd import CsrdCalibration, CsrdSettings
from csrd.methods.learned import WEIGHTS_FILE
from csrd.methods.learned.tuning import Tuning
from csrd.recon.embedded import reconstruct
from csrd.scanner.geometry import hrrt
from csrd.stages import tune
from csrd.stages.tune import FOLDS, HELD_OUT, INPUTS, TRAINED, tune_on_listmode
from csrd.train.checkpoint import save_weights
from tests.recon.conftest import ACTIVITY, RADIUS, SETTINGS

FEW = Tuning(steps=2, patches=1, patch=16, volumes=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Return the folder of an untrained model: a filter."""
    folder, kind = tmp_path_factory.mktemp("base"), method("csrdnomr")
    settings = CsrdSettings(network="resunet", measured=True, coordinates=False, channels=(8, 8), patch=16)
    torch.manual_seed(0)
    model = kind(settings, CsrdCalibration(), 5)
    save_weights(folder / WEIGHTS_FILE, model.build().state_dict(), {"method": kind.key})
    kind.write_model(folder, model.card_of({"weights_sha256": sha256(folder / WEIGHTS_FILE)}))
    return folder


@pytest.fixture
def files(cylinder, tmp_path) -> dict:
    """Return the files of the cylinder's scan, and how it is reconstructed."""
    names = {name: tmp_path / f"{name}.nii.gz" for name in ("mumap", "sensitivity")}
    for name, path in names.items():
        getattr(cylinder, name).save(path)
    np.save(tmp_path / "efficiencies.npy", cylinder.efficiencies)
    how = {"recon": SETTINGS.model_copy(update={"iterations": 1}), "seed": 1, "subject": "sub-01"}
    return {**names, "normalisation": tmp_path / "efficiencies.npy", **how, "threads": 2, "tuning": FEW}


def test_the_events_of_inputs_targets_and_decision_are_disjoint():
    assert not set(TRAINED) & set(HELD_OUT) and set(TRAINED) | set(HELD_OUT) == set(range(FOLDS))
    for folds in INPUTS:
        assert set(folds) < set(TRAINED) and set(tune._others(folds)) == set(TRAINED) - set(folds)


def test_parts_of_the_events_give_independent_images_of_the_whole_mean(cylinder):
    """Counts are as the fractions; the noise of two disjoint parts is uncorrelated, as that of two scans."""
    arrays = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt()
    core, noise, counted = cylinder.radius() < RADIUS - 12, [], []
    for folds in ((0,), (1, 2, 3)):
        part = PartOfFile.of(open_listmode(cylinder.path), Part(5, folds, 4))
        assert drf_of(part) == pytest.approx(4 / len(folds))
        image, sidecar = reconstruct(part, *arrays, SETTINGS, drf_of(part), seed=1, subject="sub-01")
        assert image.array[core].mean() == pytest.approx(ACTIVITY, rel=0.02)
        noise.append(image.array[core] - image.array[core].mean())
        counted.append(sidecar["Prompts"])
    assert sum(counted) == cylinder.counts["prompts"]
    assert counted[1] / counted[0] == pytest.approx(3, rel=0.02)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.1


def test_a_part_has_its_own_counts_and_the_time_of_the_file(cylinder):
    whole = open_listmode(cylinder.path)
    parts = [PartOfFile.of(whole, Part(5, folds, 4)).survey() for folds in ((0, 2), (1, 3))]
    found, survey = sum(part.counts for part in parts), whole.survey()
    assert (found[: DELAYED + 1] == survey.counts[: DELAYED + 1]).all()
    assert all(part.covered_s == survey.covered_s for part in parts)


def test_one_scan_tunes_a_model(cylinder, files, base, tmp_path, monkeypatch):
    out = tmp_path / "mine"
    said = tune_on_listmode("csrdnomr", cylinder.path, model=out, begin_with=base, **files)
    card = read_json(out / "model.json")
    assert card["tuned"]["on"] == cylinder.path.name and card["tuned"]["fraction"] == said["fraction"]
    assert card["tuned"]["listmode_sha256"] == sha256(open_listmode(cylinder.path).path)
    low = cylinder.images[4]
    image = method("csrdnomr").load(out).apply(low, None, None)
    assert image.same_grid(low) and image.array.sum() == pytest.approx(low.array.sum(), rel=0.1)
    assert not list(tmp_path.rglob("part-*"))
    monkeypatch.setattr(tune, "_images", None)  # a finished one is not repeated
    again = tune_on_listmode("csrdnomr", cylinder.path, model=out, begin_with=base, **files)
    assert again["compared"].keys() == said["compared"].keys()


def test_what_is_missing_is_named_before_anything_is_computed(cylinder, files, base, tmp_path):
    out = {"model": tmp_path / "mine", "begin_with": base}
    with pytest.raises(InputError, match="give a μ-map"):
        tune_on_listmode("csrdnomr", cylinder.path, **out, **files | {"mumap": None})
    with pytest.raises(InputError, match="is of csrdnomr, not of csrd"):
        tune_on_listmode("csrd", cylinder.path, **out, **files)
    command = files["recon"].model_copy(update={"engine": "command"})
    with pytest.raises(InputError, match="reconstructed by the embedded engine, and recon.engine is command"):
        tune_on_listmode("csrdnomr", cylinder.path, **out, **files | {"recon": command})
    assert not (tmp_path / "mine").exists() and not (tmp_path / ".mine-training").exists()

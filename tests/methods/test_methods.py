import numpy as np
import pytest

from csrd.config import load
from csrd.config.methods import MethodSettings
from csrd.errors import InputError
from csrd.io.files import read_json
from csrd.io.volume import Volume, centred_affine
from csrd.methods import TrainingPair, keys, method
from csrd.methods.base.train import train
from csrd.pretrained import locate, packaged
from csrd.stages.fit import import_model
from csrd.stages.predict import predict
from tests.methods.conftest import ONE_THREAD

SHAPE = (14, 13, 12)


def volume(seed=0, unit="Bq/mL") -> Volume:
    affine = centred_affine(SHAPE, 2.0)
    affine[0] *= -1
    return Volume(np.random.default_rng(seed).random(SHAPE, np.float32) * 1e4, affine, unit)


def test_the_registry_follows_from_the_files():
    rows = ["lowdose", "tv", "unet", "restormer", "unet3d", "csrd", "csrdnomr", "mronly"]
    assert keys() == rows, "the order of the paper's rows, and ours after what they resemble"
    assert all(key.isalnum() and method(key).key == key and method(key).label for key in keys())
    with pytest.raises(InputError, match="no method 'median'; choose from .*tv"):
        method("median")


def test_the_configuration_reads_from_the_methods_what_they_need():
    settings = load({"methods": ["csrdnomr", "csrd", "unet", "tv", "lowdose"]})
    assert settings.fitted_methods == ("csrdnomr", "csrd", "unet", "tv")
    assert settings.learned_methods == ("csrdnomr", "csrd", "unet")
    assert settings.methods_without_mr == ("csrdnomr", "tv")
    assert settings.methods_with_std == ("csrdnomr", "csrd")


def test_a_fitted_model_is_brought_whole_or_not_at_all(tmp_path):
    import_model("csrdnomr", packaged("csrdnomr"), tmp_path / "models" / "csrdnomr")
    found = method("csrdnomr").load(tmp_path / "models" / "csrdnomr")  # its weights are another model's
    assert found.settings.channels == (64, 128, 128, 128)
    with pytest.raises(InputError, match="is of csrdnomr, not of csrd"):
        import_model("csrd", packaged("csrdnomr"), tmp_path / "models" / "csrd")
    assert not (tmp_path / "models" / "csrd").exists()


def test_models_are_found_before_anything_runs(tmp_path):
    assert locate("packaged", ["csrd"]) == {"csrd": packaged("csrd")}
    with pytest.raises(InputError, match="and the package has no model of tv; take them out of methods"):
        locate("packaged", ["csrd", "tv"])
    with pytest.raises(InputError, match="cohort.models is nowhere, and nowhere has no model of csrd, tv"):
        locate("nowhere", ["csrd", "tv"])


def test_low_dose_is_nowhere_negative(tmp_path):
    low = volume()
    below = method("lowdose").load(tmp_path).apply(low.like(low.array - 500), None, 4)
    np.testing.assert_array_equal(below.array, (low.array - 500).clip(0))


def test_low_dose_changes_nothing(tmp_path):
    train("lowdose", [], MethodSettings(), tmp_path, ONE_THREAD)
    low = volume()
    assert method("lowdose").load(tmp_path).apply(low, None, 4) is low


def test_a_model_of_another_method_is_refused(tmp_path):
    train("lowdose", [], MethodSettings(), tmp_path, ONE_THREAD)
    with pytest.raises(InputError, match="is of lowdose, not of tv"):
        method("tv").load(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        method("tv").load(tmp_path / "nowhere")


def test_pairs_load_lazily_and_refuse_other_grids(tmp_path):
    volume(1).save(tmp_path / "low.nii.gz")
    volume(2).save(tmp_path / "normal.nii.gz")
    volume().like(np.ones(SHAPE, np.uint8), "mask").save(tmp_path / "mask.nii.gz")
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("low", "normal", "mask")}
    loaded = TrainingPair("sub-01", 4, mr=None, **paths).load()
    assert np.array_equal(loaded.low.array, volume(1).array) and loaded.mr is None
    moved = Volume(volume().array, centred_affine(SHAPE, 3.0))
    with pytest.raises(InputError, match="sub-01: the MR is not on the grid"):
        TrainingPair("sub-01", 4, mr=moved, **paths).load()


def test_every_dose_is_written_with_its_sidecar(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text('{"method": "tv", "intercept": -3.0, "slope": 0.5}')
    pet = tmp_path / "sub-01" / "pet"
    lows = {d: pet / f"sub-01_trc-DASB_rec-acstatDrf{d}_desc-lowdose_pet.nii.gz" for d in (4, 10)}
    outs = {d: pet / f"sub-01_trc-DASB_rec-acstatDrf{d}_desc-tv_pet.nii.gz" for d in (4, 10)}
    for drf, path in lows.items():
        volume(drf).save(path)
    predict(list(lows.values()), list(outs.values()), model=tmp_path / "model")
    for drf, path in outs.items():
        out = Volume.load(path)
        assert out.same_grid(volume()) and out.unit == "Bq/mL" and out.array.min() >= 0
        said = read_json(str(path).replace(".nii.gz", ".json"))
        assert said["DoseReductionFactor"] == drf and said["Denoising"] == "TV" and said["Units"] == "Bq/mL"
        assert said["Sources"] == [f"bids::sub-01/pet/{lows[drf].name}"]
    assert np.var(Volume.load(outs[10]).array) < np.var(volume(10).array)

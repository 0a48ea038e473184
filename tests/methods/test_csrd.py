"""CSR-D as a method: fitted on small heads, loaded again, applied to scans of any kind."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import csrd
from csrd.config.sections import Augment, Metrics
from csrd.diffusion.posterior import padded
from csrd.errors import InputError
from csrd.io.files import read_json, sha256, write_json
from csrd.io.volume import Volume
from csrd.methods import method
from csrd.methods.base.train import train
from csrd.methods.csrd import FRACTIONS, INTERVAL, PRODUCTS, SAMPLES, SIGMA_DATA, Csrd, CsrdSettings
from csrd.methods.learned.scaling import DoseFromNoise, Head, ResidualDeviation, noise_level
from csrd.metrics.coverage import covered
from csrd.pretrained import packaged
from csrd.stages.predict import predict
from csrd.train.patches import coordinates, mirrored
from tests.methods.conftest import ONE_THREAD, SHAPE, head


@pytest.fixture(scope="session")
def model(pairs, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "csrd"
    train("csrd", pairs, settings("csrd"), folder, ONE_THREAD)
    return folder


@pytest.fixture(scope="session")
def model_without_mr(pairs, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "csrdnomr"
    train("csrdnomr", pairs, settings("csrdnomr"), folder, ONE_THREAD)
    return folder


def error(image: Volume, pair) -> float:
    inside = pair.mask.array > 0
    return float(np.sqrt(np.mean((image.array - pair.normal.array)[inside] ** 2)))


def test_denoises_a_head_it_has_not_seen(model):
    pair = head(7, 10)
    image = method("csrd").load(model).apply(pair.low, pair.mr, pair.drf)
    assert image.same_grid(pair.low) and image.unit == "Bq/mL" and image.array.min() >= 0
    assert error(image, pair) < 0.95 * error(pair.low, pair)


def test_target_has_the_deviation_that_the_network_is_built_for(pairs, settings):
    """Per dose, over the heads of the training set: σ_data, for every scan's scale is its own."""
    kind, options = method("csrd"), settings("csrd")
    training = [pair for pair in pairs if pair.split == "train"]
    method_ = kind(options, kind.calibrated(training, options))
    for drf in (4, 8):
        inside = [
            method_.scan(pair).target.numpy()[0][pair.mask.array > 0] for pair in training if pair.drf == drf
        ]
        assert np.concatenate(inside).std() == pytest.approx(SIGMA_DATA, rel=0.05)


def test_scale_is_free_of_unit_and_of_one_hot_voxel(pairs):
    low = pairs[0].low
    assert Head.of(low.like(low.array * 3)).scale == pytest.approx(3 * Head.of(low).scale)
    hot = low.array.copy()
    hot[11, 12, 9] *= 50
    assert Head.of(low.like(hot)).scale == pytest.approx(Head.of(low).scale, rel=0.05)


def test_result_scales_with_the_image_and_turns_with_its_axes(model):
    fitted, pair = method("csrd").load(model), head(7, 4)
    image = fitted.denoise(pair.low, pair.mr, 4, product="mean")[0]
    doubled = fitted.denoise(pair.low.like(2 * pair.low.array), pair.mr, 4, product="mean")[0]
    np.testing.assert_allclose(doubled.array, 2 * image.array, rtol=0.02, atol=50)

    def turned(volume: Volume) -> Volume:
        affine = volume.affine[:, [2, 0, 1, 3]].copy()
        return Volume(np.ascontiguousarray(volume.array.transpose(2, 0, 1)), affine, volume.unit)

    other = fitted.denoise(turned(pair.low), turned(pair.mr), 4, product="mean")[0]
    assert other.same_grid(turned(pair.low))
    np.testing.assert_array_equal(other.array, turned(image).array)


def test_products_and_their_deviations(model):
    fitted, pair = method("csrd").load(model), head(7, 8)
    images = {
        product: fitted.denoise(pair.low, pair.mr, 8, product=product, samples=4) for product in PRODUCTS
    }
    mean, spread = images["mean"]
    sample, sample_spread = images["sample"]
    inside = pair.mask.array > 0
    assert spread.unit == "Bq/mL" and (spread.array[inside] > 0).all()
    np.testing.assert_allclose(sample_spread.array, np.sqrt(2) * spread.array, rtol=1e-4)
    np.testing.assert_allclose(images["average"][1].array, np.sqrt(1.25) * spread.array, rtol=1e-4)
    assert error(mean, pair) < error(images["average"][0], pair) < error(sample, pair)
    again = fitted.denoise(pair.low, pair.mr, 8, product="sample")[0]
    np.testing.assert_array_equal(again.array, sample.array)


def test_fraction_is_selected_on_validation_subjects(model):
    selected = read_json(model / "model.json")["selected"]
    assert selected["sample_fraction"] in FRACTIONS and set(selected["tried"]) == set(map(str, FRACTIONS))
    assert selected["tried"]["1.0"]["psnr"] < selected["tried"]["0.0"]["psnr"]


def test_intervals_are_calibrated_on_validation_subjects(model, pairs, tmp_path):
    fitted, validation = method("csrd").load(model), [p for p in pairs if p.split == "validation"]
    shares = []
    for pair in validation:
        image, std = fitted.denoise(pair.low, pair.mr, pair.drf, product="mean", samples=SAMPLES)
        inside = pair.mask.array > 0
        off = (image.array - pair.normal.array)[inside]
        shares.append(covered(off, std.array[inside], SAMPLES, [INTERVAL])[0])
    assert np.mean(shares) == pytest.approx(INTERVAL, abs=0.02)
    card = read_json(model / "model.json")
    factor = card["selected"].pop("std_factor")
    plain = tmp_path / "plain"
    shutil.copytree(model, plain)
    write_json(plain / "model.json", card)
    bare = method("csrd").load(plain).denoise(pair.low, pair.mr, pair.drf, product="mean", samples=SAMPLES)[1]
    np.testing.assert_allclose(std.array, factor * bare.array, rtol=1e-5)


def test_mr_is_needed_where_it_was_trained_with(model, model_without_mr):
    pair = head(7, 4)
    with pytest.raises(InputError, match="csrd needs the MR; give it with --mr"):
        method("csrd").load(model).apply(pair.low, None, 4)
    image = method("csrdnomr").load(model_without_mr).apply(pair.low, None, 4)
    assert error(image, pair) < error(pair.low, pair)
    moved = Volume(pair.mr.array, pair.mr.affine + np.eye(4), "arbitrary")
    with pytest.raises(InputError, match="align both"):
        method("csrd").load(model).apply(pair.low, moved, 4)
    with pytest.raises(InputError, match="MR is empty inside the PET's head"):
        method("csrd").load(model).apply(pair.low, pair.mr.like(np.zeros(SHAPE, np.float32)), 4)


def test_unknown_dose_is_told_from_the_noise(model, pairs):
    training = [pair for pair in pairs if pair.split == "train"]
    guess = DoseFromNoise.fit(training)
    for drf in (4, 6, 8, 10):
        assert guess.of(head(9, drf).low) == pytest.approx(drf, rel=0.25)
    assert method("csrd").load(model).estimate_drf(head(9, 6).low) == pytest.approx(6, rel=0.25)
    assert noise_level(head(9, 8).low) > noise_level(head(9, 4).low)
    with pytest.raises(InputError, match="lowdose needs the dose"):
        method("lowdose")().estimate_drf(head(9, 4).low)


def test_a_scan_of_unknown_dose_is_denoised_by_the_dose_of_its_noise(model_without_mr):
    facts = csrd.denoise(head(9, 6).low, model=model_without_mr, device="cpu").facts
    assert facts["DoseReductionFactorEstimated"]
    assert facts["DoseReductionFactor"] == pytest.approx(6, rel=0.25)


def test_a_dose_beyond_what_was_learned_is_warned_of(model_without_mr, caplog):
    csrd.denoise(head(9, 6).low, model=model_without_mr, drf=16)
    assert "do not trust" not in caplog.text
    csrd.denoise(head(9, 6).low, model=model_without_mr, drf=17)
    assert "was not trained on doses beyond 16, so do not trust the image" in caplog.text


def test_deviation_of_poisson_noise_grows_with_the_root_of_drf(pairs):
    assert ResidualDeviation.fit(
        [head(seed, drf) for seed in (1, 2) for drf in (4, 8)]
    ).slope == pytest.approx(0.5, abs=0.1)
    same = [head(1, 4)]
    same[0].low.array[:] = same[0].normal.array
    with pytest.raises(InputError, match="equals its normal dose"):
        ResidualDeviation.fit(same)


def test_files_with_standard_deviations_are_written_with_their_sidecar(model, tmp_path):
    pair = head(7, 4)
    pair.low.save(tmp_path / "low.nii.gz")
    pair.mr.save(tmp_path / "mr.nii.gz")
    files = {"mr": tmp_path / "mr.nii.gz", "model": model}
    low, out, std = ([tmp_path / f"{name}.nii.gz"] for name in ("low", "out", "std"))
    predict(low, out, stds=std, **files, product="average", samples=2, steps=2)
    story = read_json(tmp_path / "out.json")
    assert story["DoseReductionFactorEstimated"] and story["DoseReductionFactor"] == pytest.approx(4, rel=0.3)
    assert story["Samples"] == 2 and story["Sampler"]["steps"] == 2 and story["Product"] == "average"
    assert len(story["WeightsSha256"]) == 64
    assert Volume.load(tmp_path / "std.nii.gz").same_grid(pair.low)
    with pytest.raises(InputError, match="no product 'best'; choose from table"):
        predict(low, out, **files, product="best")


def test_an_mr_is_not_denoised_as_pet(model, tmp_path):
    pair = head(7, 4)
    pair.mr.save(tmp_path / "mr.nii.gz")
    with pytest.raises(
        InputError, match="is not a PET image .its unit is arbitrary.; give the low-dose image"
    ):
        predict([tmp_path / "mr.nii.gz"], [tmp_path / "out.nii.gz"], model=model)
    assert not (tmp_path / "out.nii.gz").exists()


def test_selection_is_by_the_configured_metrics_and_repeats_no_training(pairs, settings, tmp_path):
    options = settings("csrdnomr", training={"steps": 8, "batch": 2, "lr": 0.01})
    theirs = replace(ONE_THREAD, metrics=Metrics(vgg="vgg19", weights=str(tmp_path)))
    with pytest.raises(InputError, match="csrd weights vgg19"):
        train("csrdnomr", pairs, options, tmp_path / "csrdnomr", theirs)
    (state,) = tmp_path.glob(".csrdnomr-training/*/done.json")
    trained = state.stat().st_mtime_ns
    train("csrdnomr", pairs, options, tmp_path / "csrdnomr", ONE_THREAD)
    assert state.stat().st_mtime_ns == trained


def test_a_finished_training_is_not_repeated_and_a_changed_voxel_retrains(pairs, settings, tmp_path):
    options = settings("csrdnomr", training={"steps": 8, "batch": 2, "lr": 0.01})
    folder = tmp_path / "csrdnomr"

    def trained(with_pairs, seed=2024) -> dict:
        train("csrdnomr", with_pairs, options, folder, replace(ONE_THREAD, seed=seed))
        return read_json(folder / "model.json")

    first = trained(pairs)
    (folder / "model.json").unlink()
    assert trained(pairs) == first, "the seconds it took are those of the first time"
    normal = pairs[0].normal.array.copy()
    normal[11, 12, 9] += 1
    changed = [replace(pairs[0], normal=pairs[0].normal.like(normal)), *pairs[1:]]
    assert trained(changed)["fingerprint"] != first["fingerprint"]
    assert trained(pairs, seed=5)["fingerprint"] != first["fingerprint"]
    states = [path for path in (tmp_path / ".csrdnomr-training").iterdir() if path.is_dir()]
    assert len(states) == 1, "states that no one will ask for again are deleted"


def test_damaged_or_foreign_models_are_refused(model, tmp_path):
    def copy(**differs) -> None:
        content = read_json(model / "model.json")
        content["architecture"] |= differs
        (tmp_path / "model.json").write_text(json.dumps(content))
        (tmp_path / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes())

    copy(channels=[8, 8])
    with pytest.raises(InputError, match="is of another network"):
        method("csrd").load(tmp_path)
    copy(coordinates=False)
    with pytest.raises(InputError, match="is of another network"):
        method("csrd").load(tmp_path)
    copy(attention=True)
    with pytest.raises(InputError, match="has the setting attention, which this version .* fit the method"):
        method("csrd").load(tmp_path)
    copy(channels=[])
    with pytest.raises(InputError, match=r"model.json: channels is \[\]; it must .*; fit the method again"):
        method("csrd").load(tmp_path)
    copy()
    (tmp_path / "model.json").write_text('{"method": "csrd", "settings": {}}')
    with pytest.raises(InputError, match="is not a complete model card; fit the method again"):
        method("csrd").load(tmp_path)
    copy()
    whole = (model / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable weights"):
        method("csrd").load(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="does not exist; train the method again"):
        method("csrd").load(tmp_path)


def test_a_card_lacks_newer_keys_and_keeps_its_own_values(model, tmp_path, monkeypatch):
    """As if `coordinates` and `samples` had come later, with other defaults than those of the card's time."""
    card = read_json(model / "model.json")
    assert card["inference"].pop("samples") == 3 and card["architecture"].pop("coordinates")
    (tmp_path / "model.json").write_text(json.dumps(card))
    (tmp_path / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes())
    old = method("csrd").load(tmp_path)
    assert old.settings.samples == 8 and old.settings.coordinates, "the defaults"
    pair = head(7, 8)
    image = method("csrd").load(model).apply(pair.low, pair.mr, 8)

    class Later(CsrdSettings):
        channels: tuple[int, ...] = (64, 64)
        blocks: int = 3
        patch: int = 64
        mirror: bool = False
        blank: float = 0.5
        standardise: bool = False

    monkeypatch.setattr(method("csrd"), "Settings", Later)
    later = method("csrd").load(model).apply(pair.low, pair.mr, 8)
    np.testing.assert_array_equal(later.array, image.array)


def test_a_volume_smaller_than_a_patch_is_seen_in_training_as_it_is_later(pairs, settings):
    options = settings("csrd", patch=40, mixed=0.0)
    kind, pair = method("csrd"), pairs[0]
    method_ = kind(options, kind.calibrated(pairs, options))
    scan = method_.scan(pair)
    assert scan.measured == pair.low.shape and min(scan.target.shape[1:]) == 40
    (inputs,) = method_.patches([scan]).draw(0, range(1)).inputs
    known = padded(coordinates(pair.low.shape, torch.device("cpu")), 40)
    places = [inputs[-3:], mirrored(inputs[-3:].clone(), coordinates=True)]
    assert any(torch.allclose(found, known) for found in places)


def test_what_chooses_the_weights_is_part_of_their_key(settings):
    def key(**differs) -> dict:
        return method("csrd")(settings("csrd", **differs)).trained_by()

    other = {"sampler": {"sigma_max": 3.0}}
    assert key() == key(**other)
    assert key(blank=0.0) != key(blank=0.0, **other)


def test_voxels_of_two_sizes_are_not_trained_on_together(pairs, settings, tmp_path):
    first, *others = pairs
    low, normal, mr, mask = (
        Volume(image.array, image.affine @ np.diag([1.1, 1.1, 1.1, 1]), image.unit)
        for image in (first.low, first.normal, first.mr, first.mask)
    )
    odd = replace(first, subject="sub-99", low=low, normal=normal, mr=mr, mask=mask)
    with pytest.raises(InputError, match="sub-99 has voxels of .* mm and .*; resample one"):
        train("csrd", [*others, odd], settings("csrd"), tmp_path / "model", ONE_THREAD)


def test_nothing_to_train_on(settings, tmp_path):
    with pytest.raises(InputError, match="no training subject to fit csrd on"):
        train("csrd", [head(3, 4, "validation")], settings("csrd"), tmp_path / "csrd", ONE_THREAD)
    pair = head(1, 4)
    with pytest.raises(InputError, match="csrd needs the MR"):
        train("csrd", [replace(pair, mr=None)], settings("csrd"), tmp_path / "csrd", ONE_THREAD)


def test_paper_preset_trains_and_samples(pairs, settings, tmp_path):
    """The paper's kind of network and schedule, a few channels wide: noise from σ = 80, with churn."""
    options = settings(
        "csrd", network="ddpmpp", channels=[8, 16], blocks=1, dose=False, standardise=False, blank=0.0,
        training={"steps": 10, "batch": 2, "lr": 0.002},
        sampler={"steps": 4, "sigma_min": 0.002, "sigma_max": 80, "S_churn": 40, "S_min": 0.05, "S_max": 50},
    )  # fmt: skip
    train("csrd", pairs, options, tmp_path / "csrd", ONE_THREAD)
    pair = head(7, 4)
    image, spread = method("csrd").load(tmp_path / "csrd").apply_with_std(pair.low, pair.mr, 4)
    assert np.isfinite(image.array).all() and (spread.array >= 0).all()


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("key", ["csrd", "csrdnomr"])
def test_packaged_models_denoise_out_of_the_box(key):
    pair = head(7, 6)
    fitted = method(key).load(packaged(key))
    image, _ = fitted.denoise(pair.low, pair.mr, 6, product="mean")
    assert image.same_grid(pair.low) and np.isfinite(image.array).all()
    card = read_json(packaged(key) / "model.json")
    assert card["weights_sha256"] == sha256(packaged("csrd") / "weights.safetensors")
    held = {part for name in ("architecture", "preprocessing", "inference") for part in card[name]}
    assert held == method(key).Settings.model_fields.keys() - {
        "training",
        "mixed",
        "dropout",
        "P_mean",
        "P_std",
    }


def test_no_other_model_is_packaged():
    with pytest.raises(InputError, match="no model of unet comes with the package"):
        packaged("unet")


def test_an_average_by_hand_is_of_as_many_samples_as_asked_for(model):
    pair = head(7, 8)
    fitted = method("csrd").load(model)
    fitted.use(product="average", samples=4)
    found = fitted.apply(pair.low, pair.mr, 8)
    expected = fitted.denoise(pair.low, pair.mr, 8, product="average", samples=4)[0]
    np.testing.assert_array_equal(found.array, expected.array)
    one = fitted.denoise(pair.low, pair.mr, 8, product="sample")[0]
    assert not np.array_equal(found.array, one.array)


def test_a_method_without_standard_deviation_says_so(tmp_path):
    pair = head(7, 4)
    with pytest.raises(InputError, match="lowdose predicts no standard deviation; do not request it"):
        method("lowdose")().apply_with_std(pair.low, None, 4)


def test_patches_of_a_measured_noise_are_not_changed():
    one = Csrd(CsrdSettings(network="resunet", measured=True))
    one.augment = Augment(mr_shift_mm=1.0)
    with pytest.raises(InputError, match="csrd.measured is true, but augment changes images"):
        one.patches([])

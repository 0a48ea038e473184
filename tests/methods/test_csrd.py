"""CSR-D as a method: fitted on small heads, loaded again, applied to scans of any kind."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from csrd.config import load
from csrd.diffusion.posterior import grown
from csrd.errors import InputError
from csrd.io.files import read_json, sha256
from csrd.io.volume import Volume
from csrd.methods import method
from csrd.methods.csrd import PRODUCTS, SHARES, SIGMA_DATA
from csrd.methods.scaling import DoseFromNoise, Head, Spread, noise_level
from csrd.methods.train import train
from csrd.pretrained import packaged
from csrd.stages.predict import predict
from csrd.train.patches import coordinates, mirrored
from tests.methods.conftest import SHAPE, head


@pytest.fixture(scope="session")
def model(pairs, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "csrd"
    train("csrd", pairs, settings("csrd"), folder, threads=1)
    return folder


@pytest.fixture(scope="session")
def model_without_mr(pairs, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "csrdnomr"
    train("csrdnomr", pairs, settings("csrdnomr"), folder, threads=1)
    return folder


def error(image: Volume, pair) -> float:
    inside = pair.mask.array > 0
    return float(np.sqrt(np.mean((image.array - pair.normal.array)[inside] ** 2)))


def test_denoises_a_head_it_has_not_seen(model):
    pair = head(7, 10)
    image = method("csrd").load(model).apply(pair.low, pair.mr, pair.drf)
    assert image.same_grid(pair.low) and image.unit == "Bq/mL" and image.array.min() >= 0
    assert error(image, pair) < 0.95 * error(pair.low, pair)


def test_target_has_the_spread_that_the_network_is_built_for(pairs, settings):
    """Per dose, over the heads of the training set: σ_data, for every scan's scale is its own."""
    kind, options = method("csrd"), settings("csrd")
    training = [pair for pair in pairs if pair.split == "train"]
    learned = kind.learn(training, options)
    for drf in (4, 8):
        inside = [
            kind.scan(pair, options, learned).target.numpy()[0][pair.mask.array > 0]
            for pair in training
            if pair.drf == drf
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


def test_share_is_chosen_on_validation_subjects(model):
    chosen = read_json(model / "model.json")["chosen"]
    assert chosen["share"] in SHARES and set(chosen["tried"]) == set(map(str, SHARES))
    assert chosen["tried"]["1.0"]["psnr"] < chosen["tried"]["0.0"]["psnr"]


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
    with pytest.raises(InputError, match="lowdose must be told the dose"):
        method("lowdose")().estimate_drf(head(9, 4).low)


def test_spread_of_poisson_noise_grows_with_the_root_of_drf(pairs):
    assert Spread.fit([head(seed, drf) for seed in (1, 2) for drf in (4, 8)]).slope == pytest.approx(
        0.5, abs=0.1
    )
    same = [head(1, 4)]
    same[0].low.array[:] = same[0].normal.array
    with pytest.raises(InputError, match="equals its normal dose"):
        Spread.fit(same)


def test_files_with_spreads_are_written_with_their_story(model, tmp_path):
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
    with pytest.raises(InputError, match="no product 'best'; choose among table"):
        predict(low, out, **files, product="best")


def test_an_mr_is_not_denoised_as_pet(model, tmp_path):
    pair = head(7, 4)
    pair.mr.save(tmp_path / "mr.nii.gz")
    with pytest.raises(InputError, match="is no PET image .its unit is arbitrary.; give the low-dose image"):
        predict([tmp_path / "mr.nii.gz"], [tmp_path / "out.nii.gz"], model=model)
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_finished_training_is_not_repeated_and_a_changed_voxel_retrains(pairs, settings, tmp_path):
    options = settings("csrdnomr", training={"steps": 8, "batch": 2, "lr": 0.01})
    folder = tmp_path / "csrdnomr"

    def trained(with_pairs, with_options=options) -> dict:
        train("csrdnomr", with_pairs, with_options, folder, threads=1)
        return read_json(folder / "model.json")

    first = trained(pairs)
    (folder / "model.json").unlink()
    assert trained(pairs) == first, "the seconds it took are those of the first time"
    normal = pairs[0].normal.array.copy()
    normal[11, 12, 9] += 1
    from dataclasses import replace

    changed = [replace(pairs[0], normal=pairs[0].normal.like(normal)), *pairs[1:]]
    assert trained(changed)["fingerprint"] != first["fingerprint"]
    assert trained(pairs, {**options, "seed": 5})["fingerprint"] != first["fingerprint"]
    states = [path for path in (tmp_path / ".csrdnomr-training").iterdir() if path.is_dir()]
    assert len(states) == 1, "states that no one will ask for again are deleted"


def test_damaged_or_foreign_models_are_refused(model, tmp_path):
    def copy(**differs) -> None:
        content = read_json(model / "model.json")
        content["settings"] |= differs
        (tmp_path / "model.json").write_text(json.dumps(content))
        (tmp_path / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes())

    copy(channels=[8, 8])
    with pytest.raises(InputError, match="is of another network"):
        method("csrd").load(tmp_path)
    copy(coordinates=False)
    with pytest.raises(InputError, match="is of another network"):
        method("csrd").load(tmp_path)
    copy()
    content = read_json(tmp_path / "model.json")
    del content["settings"]["samples"]
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(
        InputError, match="lacks the settings samples: it was fitted by version .*; fit it again"
    ):
        method("csrd").load(tmp_path)
    copy()
    whole = (model / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no readable weights"):
        method("csrd").load(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(InputError, match="does not exist; train the method again"):
        method("csrd").load(tmp_path)


def test_a_volume_smaller_than_a_patch_is_seen_in_training_as_it_is_later(pairs, settings):
    options = {**settings("csrd"), "patch": 40}
    kind, pair = method("csrd"), pairs[0]
    scan = kind.scan(pair, options, kind.learn(pairs, options))
    assert scan.measured == pair.low.shape and min(scan.target.shape[1:]) == 40
    (inputs,) = kind.patches([scan], {**options, "mixed": 0.0}).draw(0, range(1)).inputs
    known = grown(coordinates(pair.low.shape, torch.device("cpu")), 40)
    places = [inputs[-3:], mirrored(inputs[-3:].clone(), coordinates=True)]
    assert any(torch.allclose(found, known) for found in places)


def test_what_chooses_the_weights_is_part_of_their_key(settings):
    csrd = method("csrd")
    options = settings("csrd")
    other = {**options, "sampler": {**options["sampler"], "sigma_max": 3.0}}
    assert csrd.trained_by(options) == csrd.trained_by(other)
    options, other = ({**given, "blank": 0.0} for given in (options, other))
    assert csrd.trained_by(options) != csrd.trained_by(other)


def test_voxels_of_two_sizes_are_not_trained_on_together(pairs, settings, tmp_path):
    first, *others = pairs
    low, normal, mr, mask = (
        Volume(image.array, image.affine @ np.diag([1.1, 1.1, 1.1, 1]), image.unit)
        for image in (first.low, first.normal, first.mr, first.mask)
    )
    odd = replace(first, subject="sub-99", low=low, normal=normal, mr=mr, mask=mask)
    with pytest.raises(InputError, match="sub-99 has voxels of .* mm and .*; resample one"):
        train("csrd", [*others, odd], settings("csrd"), tmp_path / "model", threads=1)


def test_nothing_to_train_on(settings, tmp_path):
    with pytest.raises(InputError, match="no training subject to fit csrd on"):
        train("csrd", [head(3, 4, "validation")], settings("csrd"), tmp_path / "csrd")
    pair = head(1, 4)
    from dataclasses import replace

    with pytest.raises(InputError, match="csrd needs the MR"):
        train("csrd", [replace(pair, mr=None)], settings("csrd"), tmp_path / "csrd")


def test_paper_preset_trains_and_samples(pairs, settings, tmp_path):
    """The paper's kind of network and schedule, a few channels wide: noise from σ = 80, with churn."""
    options = settings(
        "csrd", network="ddpmpp", channels=[8, 16], blocks=1, dose=False, standardise=False, blank=0.0,
        training={"steps": 10, "batch": 2, "lr": 0.002},
        sampler={"steps": 4, "sigma_min": 0.002, "sigma_max": 80, "S_churn": 40, "S_min": 0.05, "S_max": 50},
    )  # fmt: skip
    train("csrd", pairs, options, tmp_path / "csrd")
    pair = head(7, 4)
    image, spread = method("csrd").load(tmp_path / "csrd").apply_with_spread(pair.low, pair.mr, 4)
    assert np.isfinite(image.array).all() and (spread.array >= 0).all()


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("key", ["csrd", "csrdnomr"])
def test_packaged_models_denoise_right_after_installation(key):
    pair = head(7, 6)
    fitted = method(key).load(packaged(key))
    image, _ = fitted.denoise(pair.low, pair.mr, 6, product="mean")
    assert image.same_grid(pair.low) and np.isfinite(image.array).all()
    card = read_json(packaged(key) / "model.json")
    assert card["weights_sha256"] == sha256(packaged(key) / "weights.safetensors")
    shipped = load(yaml.safe_load((packaged(key).parents[3] / "config" / "config.yaml").read_text()))
    assert card["settings"] == json.loads(json.dumps(shipped.of_method(key))), "train and publish anew"


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


def test_a_method_without_spread_says_so(tmp_path):
    pair = head(7, 4)
    with pytest.raises(InputError, match="lowdose gives no standard deviation; leave it out"):
        method("lowdose")().apply_with_spread(pair.low, None, 4)

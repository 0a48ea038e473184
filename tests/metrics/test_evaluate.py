import numpy as np
import pandas as pd
import pytest

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.io.files import write_json
from csrd.io.volume import Volume, centred_affine
from csrd.metrics import haralick, vgg
from csrd.stages.evaluate import evaluate, merge

SHAPE = (16, 16, 12)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    affine = centred_affine(SHAPE, 2.0)
    pet = Volume((rng.random(SHAPE) * 2e4 + 1e4).astype(np.float32), affine, "Bq/mL")
    pet.save(tmp_path / "ref.nii.gz")
    Volume(np.ones(SHAPE, np.uint8), affine, "mask").save(tmp_path / "mask.nii.gz")
    for drf in (4, 10):
        pet.like(pet.array + np.float32(100 * drf)).save(tmp_path / f"low{drf}.nii.gz")
    return tmp_path


def run(files, out="a.csv", subject="sub-01", method="lowdose", settings=None, **more):
    images = [files / "low10.nii.gz", files / "low4.nii.gz"]
    if more:
        write_json(files / "facts.json", more)
        more = {"facts": files / "facts.json"}
    compare(images, files, [files / out], [method], [10, 4], subject, settings or Metrics(), **more)
    return pd.read_csv(files / out)


def compare(images, files, tables, methods, drfs, subject="sub-01", metrics=Metrics(), **more):  # noqa: B008
    about = {"methods": methods, "drfs": drfs, "metrics": metrics, "subject": subject}
    return evaluate(images, files / "ref.nii.gz", files / "mask.nii.gz", tables=tables, **about, **more)


def test_one_row_a_dose_in_kilobecquerel(files):
    table = run(files)
    assert list(table) == ["subject", "drf", "method", "mae", "psnr", "ssim", "h_dist", "p_dist", "nrmse"]
    assert list(table["drf"]) == [4, 10]
    assert table["mae"].to_numpy() == pytest.approx([0.4, 1.0], rel=1e-4)


def test_suv_where_weight_and_activity_are_known(files):
    # 400 Bq/mL · 65 kg / 577.6 MBq
    table = run(files, weight_kg=65.0, activity_MBq=577.6)
    assert table["mae"][0] == pytest.approx(400 * 65e3 / 577.6e6, rel=1e-4)
    assert table["psnr"].to_numpy() == pytest.approx(run(files)["psnr"].to_numpy(), abs=1e-4)
    with pytest.raises(InputError, match="weight is 0 kg"):
        run(files, weight_kg=0, activity_MBq=577.6)


def test_tables_are_merged_in_order_and_only_once(files):
    run(files, "b.csv", subject="sub-02")
    run(files, "c.csv", method="tv")
    run(files, "a.csv")
    merge([files / "b.csv", files / "c.csv", files / "a.csv"], files / "all.csv")
    table = pd.read_csv(files / "all.csv")
    assert table[["subject", "method", "drf"]].to_numpy().tolist() == [
        ["sub-01", "lowdose", 4],
        ["sub-01", "lowdose", 10],
        ["sub-01", "tv", 4],
        ["sub-01", "tv", 10],
        ["sub-02", "lowdose", 4],
        ["sub-02", "lowdose", 10],
    ]
    with pytest.raises(InputError, match="in two tables"):
        merge([files / "a.csv", files / "a.csv"], files / "all.csv")
    with pytest.raises(InputError, match="does not exist"):
        merge([files / "none.csv"], files / "all.csv")


def test_an_error_names_the_image(files):
    Volume(np.ones(SHAPE, np.float32), centred_affine(SHAPE, 3.0), "Bq/mL").save(files / "low4.nii.gz")
    with pytest.raises(InputError, match="low4.nii.gz"):
        run(files)
    assert not (files / "a.csv").exists()


def test_methods_share_the_references_features(files, monkeypatch):
    """Two images, each of two methods: three volumes pass through the network, the reference once."""
    seen = {"texture": 0, "features": 0}

    def counted(name, function):
        def count(*arguments, **more):
            seen[name] += 1
            return function(*arguments, **more)

        return count

    monkeypatch.setattr(haralick, "texture", counted("texture", haralick.texture))
    monkeypatch.setattr(vgg.Vgg, "features", counted("features", vgg.Vgg.features))
    images, methods = [files / f"low{drf}.nii.gz" for drf in (4, 10)], ["lowdose", "tv"]
    outs = [files / f"{method}.csv" for method in methods]
    rows = compare(images * 2, files, outs, methods, [4, 10])
    assert [(row["method"], row["drf"]) for row in rows] == [(m, drf) for m in methods for drf in (4, 10)]
    assert seen == {"texture": 3, "features": 3}
    one, two = (pd.read_csv(path).drop(columns="method") for path in outs)
    assert one.equals(two)


def test_no_table_is_written_where_one_image_fails(files):
    images = [files / "low4.nii.gz", files / "none.nii.gz"]
    outs = [files / f"{method}.csv" for method in ("lowdose", "tv")]
    with pytest.raises(InputError, match="none.nii.gz does not exist"):
        compare(images, files, outs, ["lowdose", "tv"], [4])
    assert not list(files.glob("*.csv"))


@pytest.mark.parametrize("values", [[0.0, 0.5, 1.0], [0.0, 700.0, 9000.0], [-1.0, 0.0, 0.0], [1, 2, 3]])
def test_an_image_is_no_mask(files, values):
    pet = Volume.load(files / "ref.nii.gz")
    array = np.resize(np.array(values, np.float32), pet.shape)
    pet.like(array, "mask").save(files / "mask.nii.gz")
    with pytest.raises(
        InputError, match="mask.nii.gz is not a mask .*; give an image of 0 outside and 1 inside"
    ):
        run(files)


@pytest.mark.parametrize("inside", [1.0, 255.0])
def test_a_mask_in_floats_counts_as_one(files, inside):
    pet, inner = Volume.load(files / "ref.nii.gz"), np.zeros(SHAPE, bool)
    inner[4:-4, 4:-4, 4:-4] = True
    pet.like(inner, "mask").save(files / "mask.nii.gz")
    expected = run(files)
    pet.like(np.float32(inside) * inner, "").save(files / "mask.nii.gz")
    pd.testing.assert_frame_equal(run(files), expected)

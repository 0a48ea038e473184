import json

import numpy as np
import pytest
from head_phantom import displacement_mm, grid_points, rigid
from scipy import ndimage

from csrd.align.head import CLOSING_MM, _closed, head_mask
from csrd.config.sections import Align
from csrd.errors import InputError
from csrd.io.bids import REQUIRED_OF_PET, Scan, missing_keys, sidecar_path, write_description
from csrd.io.files import read_json, write_json
from csrd.io.volume import Volume, centred_affine
from csrd.stages.align import align, align_mr

SHAPE = (56, 68, 60)


def outputs(root) -> dict:
    scan, folder = Scan("sub-01", tracer="DASB"), root / "derivatives" / "csrd"
    return {
        "reference": folder / f"{scan.reference}.nii.gz",
        "head": folder / f"{scan.head}.nii.gz",
        "picture": root / "figures" / "sub-01.png",
        "t1w_out": folder / f"{scan.mr}.nii.gz",
        "transform": folder / f"{scan.transform}.json",
    }


def alone(recon, out, shape=SHAPE) -> None:
    """Align the normal dose without low ones and MR."""
    how = {"lows_out": [], "drfs": [], "align": Align(shape=shape), "seed": 3}
    align(recon / "sub-01_drf-1_pet.nii.gz", [], **out, **how)


@pytest.fixture
def recon(pet, tmp_path):
    """Write the two reconstructions and return their folder."""
    folder = tmp_path / "recon" / "sub-01"
    pet.save(folder / "sub-01_drf-1_pet.nii.gz")
    (folder / "sub-01_drf-1_pet.json").write_text(json.dumps({"ReconMethodName": "OP-OSEM"}))
    pet.like(pet.array * 1.5).save(folder / "sub-01_drf-4_pet.nii.gz")
    return folder


def test_everything_lands_on_one_grid(pet, make_mr, recon, tmp_path):
    truth = rigid((6, -3, 4), (5, -8, 3))
    mr = make_mr(truth, (90, 100, 90), centred_affine((90, 100, 90), 2.2))
    t1w = tmp_path / "raw" / "sub-01" / "sub-01_T1w.nii.gz"
    mr.save(t1w)
    out = outputs(tmp_path)
    normal, lows = recon / "sub-01_drf-1_pet.nii.gz", [recon / "sub-01_drf-4_pet.nii.gz"]
    lows_out = [out["reference"].with_name("sub-01_trc-DASB_rec-acstatDrf4_desc-lowdose_pet.nii.gz")]
    facts = tmp_path / "facts.json"
    write_json(facts, {"tracer": "DASB", "weight_kg": 60, "activity_MBq": 300})
    how = {"drfs": [4], "align": Align(shape=SHAPE), "seed": 3, "threads": 2, "facts": facts}
    align(normal, lows, t1w=t1w, lows_out=lows_out, **out, **how)

    reference, low = Volume.load(out["reference"]), Volume.load(lows_out[0])
    mask, anatomy = Volume.load(out["head"]), Volume.load(out["t1w_out"])
    assert reference.shape == SHAPE and reference.unit == "Bq/mL"
    assert all(image.same_grid(reference) for image in (low, mask, anatomy))
    assert np.allclose(low.array, 1.5 * reference.array, rtol=1e-5)
    start = np.rint((reference.affine - pet.affine)[:3, 3] / 3).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(start, SHAPE, strict=True))
    assert (start >= 0).all() and np.array_equal(reference.array, pet.array[box])

    matrix = np.array(read_json(out["transform"])["RegistrationMatrix"])
    points = grid_points(SHAPE, reference.affine)[mask.array > 0]
    assert displacement_mm(matrix, truth, points).mean() < 1
    expected = make_mr(np.eye(4), SHAPE, reference.affine).array
    inside = mask.array > 0
    assert np.corrcoef(anatomy.array[inside], expected[inside])[0, 1] > 0.95

    said = read_json(str(lows_out[0]).replace(".nii.gz", ".json"))
    assert said["Units"] == "Bq/mL" and said["SkullStripped"] is False and said["DoseReductionFactor"] == 4
    assert said["Sources"] == ["bids:recon:sub-01/sub-01_drf-4_pet.nii.gz"]
    inherited = read_json(str(out["reference"]).replace(".nii.gz", ".json"))
    assert inherited["ReconMethodName"] == "OP-OSEM"
    assert inherited["TracerName"] == "DASB" and inherited["SUVPerBqPerML"] == pytest.approx(2e-4)
    of_mr = read_json(str(out["t1w_out"]).replace(".nii.gz", ".json"))
    assert of_mr["SpatialReference"].startswith("bids::sub-01/pet/") and of_mr["SkullStripped"] is False
    assert out["picture"].read_bytes().startswith(b"\x89PNG")


def test_without_an_mr_the_box_is_centred_on_the_head(recon, tmp_path):
    out = outputs(tmp_path)
    alone(recon, out)
    reference, mask = Volume.load(out["reference"]), Volume.load(out["head"])
    assert not out["t1w_out"].exists() and not out["transform"].exists() and out["picture"].exists()
    middle = grid_points(SHAPE, reference.affine)[mask.array > 0].mean(axis=0)
    box_middle = (reference.affine @ [*(np.array(SHAPE) - 1) / 2, 1])[:3]
    assert np.abs(middle - box_middle).max() < 6


def test_the_box_is_upright_whatever_the_order_of_axes(pet, recon, tmp_path):
    alone(recon, outputs(tmp_path / "a"))
    turned = Volume(pet.array.transpose(1, 2, 0)[:, ::-1], pet.affine[:, [1, 2, 0, 3]], pet.unit)
    turned.affine[:, 3] += turned.affine[:, 1] * (turned.shape[1] - 1)
    turned.affine[:, 1] *= -1
    turned.save(recon / "sub-01_drf-1_pet.nii.gz")
    alone(recon, outputs(tmp_path / "b"))
    straight, other = (Volume.load(outputs(tmp_path / name)["reference"]) for name in "ab")
    assert other.shape == (SHAPE[1], SHAPE[2], SHAPE[0])
    assert other.canonical().same_grid(straight) and np.array_equal(other.canonical().array, straight.array)


def test_a_box_larger_than_the_pet_is_padded_with_zeros(recon, tmp_path):
    out = outputs(tmp_path)
    alone(recon, out, (70, 76, 70))
    reference = Volume.load(out["reference"])
    assert (
        reference.shape == (70, 76, 70) and not reference.array[:3].any() and not reference.array[-3:].any()
    )


def test_a_cut_head_is_told(recon, tmp_path, caplog):
    alone(recon, outputs(tmp_path), (40, 50, 40))
    assert "lies outside the 40×50×40 voxels" in caplog.text


def test_another_grid_is_refused(pet, recon, tmp_path):
    Volume(pet.array, centred_affine(pet.shape, 2.0), "Bq/mL").save(recon / "sub-01_drf-4_pet.nii.gz")
    how = {"lows_out": [tmp_path / "low.nii.gz"], "drfs": [4], "align": Align(shape=SHAPE), "seed": 3}
    pets = recon / "sub-01_drf-1_pet.nii.gz", [recon / "sub-01_drf-4_pet.nii.gz"]
    with pytest.raises(InputError, match="not on the grid"):
        align(*pets, **outputs(tmp_path), **how)


def test_head_mask_is_the_head(pet):
    points = grid_points(pet.shape, pet.affine)
    head = np.linalg.norm(points / (78, 98, 88), axis=-1) < 1
    mask = head_mask(pet)
    dice = 2 * (mask & head).sum() / (mask.sum() + head.sum())
    assert dice > 0.95


def test_an_empty_image_is_named(pet, recon, tmp_path):
    pet.like(np.zeros(pet.shape, np.float32)).save(recon / "sub-01_drf-1_pet.nii.gz")
    with pytest.raises(InputError, match="sub-01_drf-1_pet.nii.gz: the PET image has no voxel above zero"):
        alone(recon, outputs(tmp_path))


def test_the_dataset_describes_itself(tmp_path):
    write_description(tmp_path / "dataset_description.json")
    said = read_json(tmp_path / "dataset_description.json")
    assert said["DatasetType"] == "derivative" and said["GeneratedBy"][0]["Name"] == "csrd"
    ignored = (tmp_path / ".bidsignore").read_text().split()
    assert ignored == ["*_xfm.json", "*_tacs.*", "*_kinpar.*", "pet/*_dseg.*", "**/pet/*_dseg.*", "csrd_*"]
    assert "were not given" not in (tmp_path / "README").read_text()


def test_what_was_not_given_is_told_and_not_made_up(recon, tmp_path):
    out = outputs(tmp_path)
    alone(recon, out)
    sidecar = sidecar_path(out["reference"])
    said = read_json(sidecar)
    assert not {"TracerName", "SUVPerBqPerML", "Manufacturer", "InjectedMass"} & set(said)
    full = tmp_path / "full.json"
    full.write_text(json.dumps(dict.fromkeys(REQUIRED_OF_PET, 1)))
    write_description(tmp_path / "dataset_description.json", [sidecar, full])
    readme = (tmp_path / "README").read_text()
    assert "- Manufacturer (1 of 2 images)\n" in readme and "- ReconMethodName" not in readme
    assert missing_keys([full]) == {}


def test_an_mr_comes_to_a_low_dose_of_any_grid(pet, make_mr, tmp_path):
    truth = rigid((5, -3, 4), (5, -8, 3))
    make_mr(truth, (60, 66, 60), centred_affine((60, 66, 60), 3.3)).save(tmp_path / "t1w.nii.gz")
    affine = pet.affine.copy()
    affine[:3, 3] = (pet.affine @ [3, 0, 2, 1])[:3]
    low = Volume(pet.array[3:, :-4, 2:], affine, "Bq/mL")
    low.save(tmp_path / "low.nii.gz")
    names = {"transform": "xfm.json", "t1w_out": "mr.nii.gz", "picture": "picture.png"}
    out = {key: tmp_path / name for key, name in names.items()}
    align_mr(tmp_path / "low.nii.gz", tmp_path / "t1w.nii.gz", seed=3, **out)
    assert Volume.load(out["t1w_out"]).same_grid(low) and out["picture"].exists()
    found = np.array(read_json(out["transform"])["RegistrationMatrix"])
    points = grid_points(low.shape, low.affine)[head_mask(low)]
    assert displacement_mm(found, truth, points).mean() < 1.5


def test_closing_in_the_box_of_a_mask_is_closing_in_the_whole_field_of_view():
    rng = np.random.default_rng(4)
    mask = ndimage.gaussian_filter(rng.normal(size=(40, 44, 36)), 2) > 0.02
    mask[:12] = mask[32:] = mask[:, :9] = mask[:, :, 30:] = False
    voxel = np.array([2.0, 2.5, 3.0])
    whole = np.pad(mask, 8)
    near = ndimage.distance_transform_edt(~whole, sampling=voxel) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(near, sampling=voxel) > CLOSING_MM
    expected = ndimage.binary_fill_holes(closed | whole)[8:-8, 8:-8, 8:-8]
    assert np.array_equal(_closed(mask, voxel), expected) and expected.sum() > mask.sum()

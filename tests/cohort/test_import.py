"""Input validation: good files are imported; files in another unit, size or format are not."""

import nibabel as nib
import numpy as np
import pytest

from csrd.errors import InputError
from csrd.io.files import read_json, write_json
from csrd.io.volume import Volume
from csrd.scanner.petsird import scanner_in
from csrd.stages.import_ import import_corrections, import_images, import_listmode, import_t1w
from tests.petsird_files import cylinder, header_of, time_blocks, write


def corrections(mumap, normalisation, folder, listmode=None):
    """Import into ``out.nii.gz`` and ``out.npy``."""
    outs = {"mumap_out": folder / "out.nii.gz", "normalisation_out": folder / "out.npy"}
    import_corrections(mumap, normalisation=normalisation, listmode=listmode, **outs)


def test_listmode_is_linked_with_its_header(study, tmp_path):
    target = tmp_path / "raw" / "sub-A1_listmode.l64"
    for _ in range(2):
        import_listmode(study / "a.l64", target, study / "a.l64.hdr")
    assert target.is_symlink() and target.samefile(study / "a.l64")
    assert (tmp_path / "raw" / "sub-A1_listmode.l64.hdr").read_text().startswith("!INTERFILE")


def test_petsird_is_linked_alone(tmp_path):
    scanner = cylinder()
    source = write(tmp_path / "scan.petsird", header_of(scanner), time_blocks(scanner))
    target = tmp_path / "raw" / "sub-A1_listmode.petsird"
    import_listmode(source, target)
    assert target.samefile(source) and list(target.parent.iterdir()) == [target]
    Volume(np.full((4, 4, 4), 0.096, np.float32), np.eye(4)).save(tmp_path / "mu.nii.gz")
    corrections(tmp_path / "mu.nii.gz", None, tmp_path, listmode=target)
    assert (np.load(tmp_path / "out.npy") == scanner_in(target).efficiencies).all()
    source.write_bytes(b"no PETSIRD")
    with pytest.raises(InputError, match="is not PETSIRD"):
        import_listmode(source, target)


def test_other_data_is_refused(study, tmp_path):
    np.full(400, 0xC0000000, dtype="<u4").tofile(study / "a.l64")
    with pytest.raises(InputError, match="not HRRT list-mode"):
        import_listmode(study / "a.l64", tmp_path / "raw" / "x.l64", study / "a.l64.hdr")


def test_mumap_in_other_units_is_refused(study, tmp_path):
    corrections(study / "mumap.nii.gz", None, tmp_path)
    mumap = Volume.load(tmp_path / "out.nii.gz")
    assert mumap.unit == "1/cm" and mumap.array.max() == np.float32(0.096)
    for factor in (0.1, 10, -1, 0):
        mumap.like(mumap.array * np.float32(factor)).save(study / "wrong.nii.gz")
        with pytest.raises(InputError, match="convert it to 1/cm"):
            corrections(study / "wrong.nii.gz", None, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_empty_t1w_is_refused(study, tmp_path):
    facts = {"tracer": "DASB", "weight_kg": 70.0, "injected_MBq": 500.0}
    outs = {"t1w_out": tmp_path / "out.nii.gz", "facts_out": tmp_path / "out.json"}
    import_t1w(study / "t1w.nii.gz", facts, **outs)
    assert read_json(tmp_path / "out.json") == {**facts, "activity_MBq": 500.0}
    t1w = Volume.load(tmp_path / "out.nii.gz")
    assert t1w.unit == "arbitrary" and t1w.array.max() == 700
    t1w.like(np.zeros_like(t1w.array)).save(study / "empty.nii.gz")
    with pytest.raises(InputError, match="0 everywhere"):
        import_t1w(study / "empty.nii.gz", facts, **outs)


def test_normalisation(study, tmp_path):
    crystals = 119_808
    corrections(study / "mumap.nii.gz", None, tmp_path)
    assert np.array_equal(np.load(tmp_path / "out.npy"), np.ones(crystals, np.float32))
    for values, sentence in (
        (np.ones(7), "one efficiency for each of the 119808"),
        (np.full(crystals, -1.0), "negative or not finite"),
        (np.full(crystals, np.nan), "negative or not finite"),
    ):
        np.save(study / "norm.npy", values)
        with pytest.raises(InputError, match=sentence):
            corrections(study / "mumap.nii.gz", study / "norm.npy", tmp_path)
    (study / "norm.npy").write_text("no numbers")
    with pytest.raises(InputError, match="not a readable .npy"):
        corrections(study / "mumap.nii.gz", study / "norm.npy", tmp_path)


def test_images_are_kept_with_what_is_known_of_them(study, tmp_path):
    write_json(study / "pet.json", {"Units": "kBq/mL", "ReconMethodName": "FBP"})
    targets = [tmp_path / "recon" / f"{drf}.nii.gz" for drf in (1, 4)]
    import_images([study / "low.nii.gz"], targets, drfs=[4], unit="kBq/mL", normal=study / "pet.nii.gz")
    normal, low = map(Volume.load, targets)
    assert normal.unit == low.unit == "Bq/mL" and normal.array.max() == pytest.approx(9e6)
    said = read_json(tmp_path / "recon" / "1.json")
    assert said == {"Units": "Bq/mL", "ReconMethodName": "FBP", "DoseReductionFactor": 1}
    low = Volume.load(study / "low.nii.gz")
    low.like(low.array - 100).save(study / "low.nii.gz")
    import_images([study / "low.nii.gz"], targets[1:], drfs=[4], unit=None)
    assert Volume.load(targets[1]).array.min() == -100, "voxels below zero stay"
    assert read_json(tmp_path / "recon" / "4.json") == {"DoseReductionFactor": 4}, "no unit is made up"


def test_assumptions_are_kept_beside_the_image(study, tmp_path):
    for name in ("pet", "t1w", "mumap"):
        image = nib.load(study / f"{name}.nii.gz")
        shifted = np.eye(4)
        shifted[0, 3] = 3
        image.set_sform(np.eye(4), 1)
        image.set_qform(shifted, 1)
        nib.save(
            nib.Nifti1Image(image.get_fdata(dtype=np.float32), None, image.header), study / f"{name}.nii.gz"
        )
    raw = tmp_path / "raw"
    import_images([], [raw / "pet.nii.gz"], drfs=[], unit="Bq/mL", normal=study / "pet.nii.gz")
    facts = {"injected_MBq": None}
    import_t1w(study / "t1w.nii.gz", facts, t1w_out=raw / "t1w.nii.gz", facts_out=raw / "facts.json")
    outs = {"mumap_out": raw / "mumap.nii.gz", "normalisation_out": raw / "efficiencies.npy"}
    import_corrections(study / "mumap.nii.gz", **outs)
    for name in ("pet", "t1w", "mumap"):
        (note,) = read_json(tmp_path / "raw" / f"{name}.json")["InputNotes"]
        assert f"{name}.nii.gz place its corners 3 voxels apart: the sform is taken" in note


def test_units_of_header_and_sidecar_must_agree(study, tmp_path):
    pet = Volume.load(study / "pet.nii.gz")
    pet.like(pet.array, "Bq/mL").save(study / "pet.nii.gz")
    write_json(study / "pet.json", {"Units": "kBq/mL"})
    with pytest.raises(
        InputError, match="pet.nii.gz: its unit is Bq/mL by its header, kBq/mL by its sidecar"
    ):
        import_images([study / "pet.nii.gz"], [tmp_path / "pet.nii.gz"], drfs=[4], unit=None)


def test_a_low_dose_that_is_not_scaled_is_refused(study, tmp_path):
    low = Volume.load(study / "low.nii.gz")
    low.like(low.array / 4).save(study / "unscaled.nii.gz")
    targets = [tmp_path / "recon" / f"{drf}.nii.gz" for drf in (1, 4)]
    how = {"images": targets, "drfs": [4], "unit": "Bq/mL"}
    with pytest.raises(InputError, match="unscaled.nii.gz sums to 0.2.* scale low doses to the normal one"):
        import_images([study / "unscaled.nii.gz"], normal=study / "pet.nii.gz", **how)
    with pytest.raises(InputError, match="has no uptake"):
        low.like(-low.array).save(study / "negative.nii.gz")
        import_images([study / "low.nii.gz"], normal=study / "negative.nii.gz", **how)
    assert not (tmp_path / "recon").exists()

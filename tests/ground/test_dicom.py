"""DICOM series in and out: places, values, facts, and one sentence for what cannot be used."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

from csrd.errors import InputError
from csrd.io.dicom import read_series, write_series
from csrd.io.files import write_json
from csrd.io.images import read_mr
from csrd.seeds import generator
from csrd.stages.predict import predict

SHAPE = (6, 5, 4)  # columns, rows, slices
SPACING = (2.5, 2.0, 3.0)  # mm, along them
STUDY, FRAME = generate_uid(), generate_uid()


def write_pet(folder: Path, orientation=(1, 0, 0, 0, 1, 0), edit=None, **changes) -> np.ndarray:
    """Write a PET series whose slices have their own slopes, in no order; return its values.

    `edit` takes each image and its index; where it returns False there is no such file.
    """
    folder.mkdir(parents=True)
    values = generator(1, "dicom").integers(0, 2000, SHAPE).astype(np.float64)
    slopes = [0.5, 2.0, 1.25, 3.0]
    series = generate_uid()
    normal = np.cross(orientation[:3], orientation[3:])
    for name, index in enumerate([2, 0, 3, 1]):
        image = pydicom.Dataset()
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PatientName, image.PatientID, image.PatientWeight = "Doe^Jane", "J1", 61.5
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = STUDY, series, FRAME
        image.Modality, image.Units, image.SeriesNumber, image.SeriesDescription = "PT", "BQML", 7, "PET AC"
        image.ImageType, image.DecayCorrection = ["ORIGINAL", "PRIMARY"], "START"
        image.SeriesTime, image.ActualFrameDuration = "101530.000", 300_000
        dose = pydicom.Dataset()
        dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = 3.7e8, 6586.2
        dose.RadiopharmaceuticalStartTime, dose.Radiopharmaceutical = "093000.00", "FDG"
        image.RadiopharmaceuticalInformationSequence = [dose]
        image.ImageOrientationPatient = list(orientation)
        image.ImagePositionPatient = list(np.array([10.0, -20.0, 30.0]) + index * SPACING[2] * normal)
        image.NumberOfSlices, image.ImageIndex, image.InstanceNumber = SHAPE[2], index + 1, index + 1
        image.PixelSpacing, image.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        image.Columns, image.Rows = SHAPE[:2]
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 1, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.RescaleSlope, image.RescaleIntercept = slopes[index], -4.0
        image.PixelData = values[..., index].T.astype("<i2").tobytes()
        for key, value in changes.items():
            setattr(image, key, value(index) if callable(value) else value)
        if edit is not None and edit(image, index) is False:
            continue
        image.save_as(folder / f"IM{name}", enforce_file_format=True)
    return values * slopes - 4


def test_a_series_is_read_in_place_and_in_unit(tmp_path):
    values = write_pet(tmp_path / "pet")
    (tmp_path / "pet" / "notes.txt").write_text("no DICOM")
    series = read_series(tmp_path / "pet")
    assert series.volume.unit == "Bq/mL"
    np.testing.assert_allclose(series.volume.array, values, rtol=1e-6)
    # Head first and supine: columns run to the left, rows to the back, slices to the head
    np.testing.assert_allclose(np.diag(series.volume.affine), [-2.5, -2.0, 3.0, 1])
    np.testing.assert_allclose(series.volume.affine[:3, 3], [-10, 20, 30])


def test_an_oblique_series_has_an_oblique_affine(tmp_path):
    cosine, sine = np.cos(0.3), np.sin(0.3)
    write_pet(tmp_path / "pet", orientation=(cosine, sine, 0, 0, 0, -1))
    series = read_series(tmp_path / "pet")
    steps = series.volume.affine[:3, :3]
    np.testing.assert_allclose(steps[:, 0], [-2.5 * cosine, -2.5 * sine, 0], atol=1e-12)
    np.testing.assert_allclose(steps[:, 1], [0, 0, -2], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=0), SPACING)
    assert np.linalg.det(steps) > 0 or np.isclose(abs(np.linalg.det(steps)), np.prod(SPACING))


def test_facts_of_dose_and_time(tmp_path):
    write_pet(tmp_path / "pet")
    facts = read_series(tmp_path / "pet").facts
    assert facts["InjectedRadioactivity"] == 370 and facts["InjectedRadioactivityUnits"] == "MBq"
    assert facts["BodyWeight"] == 61.5 and facts["TracerName"] == "FDG"
    assert (facts["TimeZero"], facts["ScanStart"]) == ("09:30:00", 2730)
    assert facts["FrameDuration"] == [300] and facts["ImageDecayCorrected"] is True


def test_a_derived_series_keeps_its_source_and_has_its_own_names(tmp_path):
    write_pet(tmp_path / "pet")
    source = read_series(tmp_path / "pet")
    result = source.volume.like(source.volume.array * 0.77 + 3)
    write_series(result, tmp_path / "out", source, "denoised by CSR-D w MR")
    derived = read_series(tmp_path / "out")
    step = abs(result.array).max() / 32_767  # signed, because some are below zero
    assert {h.RescaleIntercept for h in derived.headers} == {0}
    np.testing.assert_allclose(derived.volume.array, result.array, atol=step)
    np.testing.assert_allclose(derived.volume.affine, source.volume.affine)
    assert derived.facts == source.facts | {"Denoising": "CSR-D w MR"}
    old, new = source.headers, derived.headers
    assert [h.PatientID for h in new] == ["J1"] * 4 and new[0].StudyInstanceUID == STUDY
    assert new[0].FrameOfReferenceUID == FRAME
    uids = {h.SOPInstanceUID for h in new}
    assert len(uids) == 4 and not uids & {h.SOPInstanceUID for h in old}
    assert new[0].SeriesInstanceUID != old[0].SeriesInstanceUID
    for before, after in zip(old, new, strict=True):
        assert after.ImageType == ["DERIVED", "PRIMARY"]
        assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert new[0].SeriesDescription == "PET AC denoised by CSR-D w MR" and new[0].SeriesNumber == 1007
    assert new[0].DerivationDescription == "denoised by CSR-D w MR"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"Units": "CNTS"}, "has PET in units 'CNTS'; give --units"),
        ({"Modality": "CT"}, "modality 'CT'; give PET"),
        ({"SeriesInstanceUID": lambda i: f"1.2.{i}"}, "has 4 series"),
        ({"ImagePositionPatient": [0, 0, 0]}, "two slices at one position"),
        ({"ImagePositionPatient": lambda i: [0, 0, i * i]}, "lacks slices: they lie 1 to 5 mm apart"),
        ({"ImagePositionPatient": lambda i: [i, 0, 3 * i]}, "shifted against each other"),
        ({"PixelSpacing": lambda i: [2 + i, 2]}, "different sizes or orientations"),
        ({"ImagePositionPatient": ""}, "lacks ImagePositionPatient"),
        ({"PixelData": b"12"}, "has a slice that cannot be read"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "no usable orientation"),
        ({"NumberOfFrames": 2}, "several frames"),
    ],
)
def test_what_cannot_be_used_gets_one_sentence(tmp_path, changes, sentence):
    write_pet(tmp_path / "pet", **changes)
    with pytest.raises(InputError, match=sentence):
        read_series(tmp_path / "pet")


def test_a_folder_without_dicom_and_a_full_target(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no DICOM files"):
        read_series(tmp_path / "empty")
    write_pet(tmp_path / "pet")
    source = read_series(tmp_path / "pet")
    with pytest.raises(InputError, match="exists and is not empty"):
        write_series(source.volume, tmp_path / "pet", source, "x")
    with pytest.raises(InputError, match="give a new folder"):
        predict([tmp_path / "pet"], [tmp_path / "a.nii.gz"])


def test_an_mr_is_read_from_its_folder(tmp_path):
    write_pet(tmp_path / "mr", Modality="MR")
    mr = read_mr(tmp_path / "mr")
    assert mr.volume.unit == "arbitrary" and mr.name == str(tmp_path / "mr")
    write_pet(tmp_path / "pet")
    with pytest.raises(InputError, match="pet is not an MR"):
        read_mr(tmp_path / "pet")


def test_csrd_denoises_a_folder_into_a_folder(tmp_path):
    write_pet(tmp_path / "pet", RescaleIntercept=0)
    (tmp_path / "model").mkdir()
    write_json(tmp_path / "model" / "model.json", {"method": "lowdose"})
    csrd = Path(sys.executable).with_name("csrd")
    arguments = [tmp_path / "pet", tmp_path / "out", "--model", tmp_path / "model", "--drf", "4"]
    done = subprocess.run([csrd, "denoise", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    derived, source = read_series(tmp_path / "out"), read_series(tmp_path / "pet")
    np.testing.assert_allclose(derived.volume.array, source.volume.array.clip(0), atol=0.1)
    assert "denoised by" in derived.headers[0].SeriesDescription
    done = subprocess.run([csrd, "denoise", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and "exists and is not empty; name a new folder" in done.stderr

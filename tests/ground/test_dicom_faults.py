"""Headers of DICOM series that are incomplete or contradictory: read, assumed with a warning, or refused."""

import io
import logging

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from csrd.errors import InputError
from csrd.io.dicom import check_writable, read_series, write_series
from csrd.io.files import read_json, write_json
from csrd.io.images import read_pet
from csrd.seeds import generator
from csrd.stages.predict import predict
from tests.ground.test_dicom import write_pet


def rewritten(folder, change) -> None:
    """Read every file of a folder, and write what `change` returns for its dataset."""
    for path in folder.iterdir():
        content = change(pydicom.dcmread(path))
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save_as(path, enforce_file_format=True)


def removed(*names):
    def edit(image, index):
        for name in names:
            delattr(image, name)

    return edit


def derived(folder, out, **options):
    """Return a series, and the one that is derived from it with the same values."""
    source = read_series(folder, **options)
    check_writable(out, source)
    write_series(source.volume, out, source, "denoised")
    return source, read_series(out)


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize("empty", [True, False])
def test_a_scale_is_never_guessed(tmp_path, name, slices, empty):
    def edit(image, index):
        if index < slices:
            setattr(image, name, None) if empty else delattr(image, name)

    write_pet(tmp_path / "pet", edit=edit)
    with pytest.raises(InputError, match=f"pet lacks {name} in {slices} of its 4 slices"):
        read_series(tmp_path / "pet")


def test_the_scale_of_an_mr_is_that_of_all_its_slices_or_none(tmp_path):
    def all_but_one(image, index):
        if index:
            del image.RescaleSlope

    write_pet(tmp_path / "mr", edit=removed("RescaleSlope", "RescaleIntercept"), Modality="MR")
    stored = read_series(tmp_path / "mr").volume.array
    np.testing.assert_allclose(stored * [0.5, 2, 1.25, 3] - 4, write_pet(tmp_path / "pet"), rtol=1e-6)
    write_pet(tmp_path / "mixed", Modality="MR", edit=all_but_one)
    with pytest.raises(InputError, match="lacks RescaleSlope in 3 of its 4 slices"):
        read_series(tmp_path / "mixed")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            lambda i, n: setattr(i, "Units", "CNTS") if n else None,
            r"slices in different units \(BQML, CNTS\)",
        ),
        (lambda i, n: setattr(i, "Modality", "MR") if n else None, "modality 'MR' and 'PT'"),
        (lambda i, n: setattr(i, "ModalityLUTSequence", [pydicom.Dataset()]), "in a look-up table"),
        (lambda i, n: setattr(i, "RescaleSlope", 0), "a slice with the scale 0 and -4"),
        (lambda i, n: setattr(i, "PhotometricInterpretation", "PALETTE COLOR"), "has colours"),
    ],
)
def test_slices_that_contradict_one_another(tmp_path, edit, sentence):
    write_pet(tmp_path / "pet", edit=edit)
    with pytest.raises(InputError, match=sentence):
        read_series(tmp_path / "pet")


def keep(*kept):
    return lambda image, index: index in kept


def test_an_incomplete_series_is_taken_by_an_option_only(tmp_path):
    values = write_pet(tmp_path / "pet", edit=keep(0, 1, 2))
    with pytest.raises(InputError, match="has 3 slices, but its headers say 4; .* or say --allow-incomplete"):
        read_series(tmp_path / "pet")
    source, result = derived(tmp_path / "pet", tmp_path / "out", allow_incomplete=True)
    np.testing.assert_allclose(source.volume.array, values[..., :3], rtol=1e-6)
    assert "has 3 slices, but its headers say 4: it is taken as it is" in source.volume.notes[0]
    assert {header.NumberOfSlices for header in result.headers} == {3}, "the copy says how many it has"
    assert result.headers[0].DerivationDescription.startswith("denoised; the source has 3 slices")
    assert not result.notes


def test_every_second_slice_missing_is_told_from_the_thickness_too(tmp_path):
    write_pet(tmp_path / "pet", edit=keep(0, 2), NumberOfSlices=2)
    with pytest.raises(InputError, match="has slices 6 mm apart, but its headers say 3 mm"):
        read_series(tmp_path / "pet")
    write_pet(tmp_path / "hole", edit=keep(0, 1, 3))
    with pytest.raises(InputError, match="lacks slices: they lie 3 to 6 mm apart; export all of them"):
        read_series(tmp_path / "hole", allow_incomplete=True)
    write_pet(tmp_path / "mr", edit=keep(0, 2), Modality="MR", NumberOfSlices=None)
    assert read_series(tmp_path / "mr").volume.voxel_mm[2] == 6, "an MR may have gaps"


def test_a_series_that_does_not_say_its_length_is_taken_with_a_warning(tmp_path, caplog):
    write_pet(tmp_path / "pet", edit=removed("NumberOfSlices"))
    assert len(read_series(tmp_path / "pet").headers) == 4
    assert "does not say how many slices it has" in caplog.text and caplog.records[0].name == "csrd"


def test_jitter_of_places_is_no_missing_slice(tmp_path):
    def jitter(size_mm):
        return lambda index: [10, -20, 30 + 3 * index + size_mm * (-1) ** index]

    write_pet(tmp_path / "fine", ImagePositionPatient=jitter(0.03))
    fine = read_series(tmp_path / "fine")
    assert fine.volume.voxel_mm[2] == pytest.approx(3, abs=0.03) and not fine.notes
    write_pet(tmp_path / "coarse", ImagePositionPatient=jitter(0.15))
    assert "mm off an even grid: they are taken as even" in read_series(tmp_path / "coarse").notes[0]
    write_pet(tmp_path / "uneven", ImagePositionPatient=jitter(0.25))
    with pytest.raises(InputError, match="slices up to 0.3 mm off an even grid .*; resample it"):
        read_series(tmp_path / "uneven")
    write_pet(tmp_path / "aside", ImagePositionPatient=lambda i: [10 + (i in (1, 2)), -20, 30 + 3 * i])
    with pytest.raises(InputError, match="off an even grid"):
        read_series(tmp_path / "aside")


def big_endian(image, index):
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    image.PixelData = np.frombuffer(image.PixelData, "<i2").astype(">i2").tobytes()
    image["PixelData"].VR = "OW"
    image.private_block(0x0009, "TEST", create=True).add_new(1, "OW", np.arange(4, dtype=">u2").tobytes())
    image.private_block(0x0009, "TEST").add_new(2, "UN", b"\1\2")


def test_big_endian_is_read_and_comes_out_little_endian(tmp_path):
    values = write_pet(tmp_path / "pet", edit=big_endian)
    source, result = derived(tmp_path / "pet", tmp_path / "out")
    np.testing.assert_allclose(source.volume.array, values, rtol=1e-6)
    np.testing.assert_allclose(result.volume.array, values, atol=0.2)
    header = result.headers[0]
    assert header.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    block = header.private_block(0x0009, "TEST")
    assert np.array_equal(np.frombuffer(block[1].value, "<u2"), np.arange(4)) and 2 not in block
    assert header.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose == 3.7e8


def test_a_compressed_series_comes_out_uncompressed(tmp_path):
    values = write_pet(tmp_path / "pet")
    rewritten(tmp_path / "pet", lambda image: image.compress(RLELossless) or image)
    source, result = derived(tmp_path / "pet", tmp_path / "out")
    np.testing.assert_allclose(source.volume.array, values, rtol=1e-6)
    np.testing.assert_allclose(result.volume.array, values, atol=0.2)
    element = pydicom.dcmread(tmp_path / "out" / "0001.dcm")["PixelData"]
    assert element.VR == "OW" and not element.is_undefined_length and len(element.value) == 2 * 6 * 5


def jpeg_2000(image):
    """Store the pixels as a lossless JPEG 2000 codestream by Pillow, which encodes unsigned 16 bits."""
    stored = image.pixel_array
    assert stored.min() >= 0
    stream = io.BytesIO()
    Image.fromarray(stored.astype(np.uint16)).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    image.PixelRepresentation = 0
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    image.PixelData = pydicom.encaps.encapsulate([stream.getvalue()])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    return image


def test_jpeg_2000_is_read_to_the_digit_and_comes_out_uncompressed(tmp_path):
    """With the decoder that is installed; its values are those before compression."""
    shape = 40, 32  # an encoder of wavelets wants more than a few pixels
    pixels = generator(2, "jpeg").integers(0, 32_000, (4, *shape))
    changes = {"Rows": shape[0], "Columns": shape[1]}
    changes["PixelData"] = lambda index: pixels[index].astype("<i2").tobytes()
    write_pet(tmp_path / "pet", **changes)
    before = read_series(tmp_path / "pet").volume
    rewritten(tmp_path / "pet", jpeg_2000)
    source, result = derived(tmp_path / "pet", tmp_path / "out")
    assert {header.file_meta.TransferSyntaxUID for header in source.headers} == {JPEG2000Lossless}
    slopes, intercept = np.array([0.5, 2.0, 1.25, 3.0]), -4.0
    np.testing.assert_allclose(source.volume.array, (pixels * slopes[:, None, None] + intercept).T, rtol=1e-6)
    np.testing.assert_array_equal(source.volume.array, before.array)
    np.testing.assert_allclose(result.volume.array, before.array, atol=1.5)  # half a step of 16 bits
    header = pydicom.dcmread(tmp_path / "out" / "0001.dcm")
    element = header["PixelData"]
    assert header.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert element.VR == "OW" and not element.is_undefined_length and len(element.value) == 2 * 40 * 32


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1])
def test_compression_without_a_decoder_is_refused_before_a_model_is_loaded(tmp_path, syntax):
    write_pet(tmp_path / "pet")

    def renamed(image):
        image.file_meta.TransferSyntaxUID = syntax
        image.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7" + bytes(60)])
        image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
        return image

    rewritten(tmp_path / "pet", renamed)
    with pytest.raises(InputError, match="compressed as JPEG.* cannot be decoded.*; export it uncompressed"):
        predict([tmp_path / "pet"], [tmp_path / "out"], mr=None, model=None, drf=4)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_decoded_or_was_compressed_with_loss(tmp_path):
    def syntax(image):
        image.file_meta.TransferSyntaxUID = JPEG2000Lossless
        image.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
        image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
        return image

    write_pet(tmp_path / "pet", LossyImageCompression="01")
    source, result = derived(tmp_path / "pet", tmp_path / "out")
    assert "compressed with loss" in source.notes[0] and result.headers[0].LossyImageCompression == "01"
    rewritten(tmp_path / "pet", syntax)
    with pytest.raises(InputError, match="(cannot be decoded: the decoder|cannot be read).*; export it"):
        read_series(tmp_path / "pet")


def test_a_data_set_without_preamble_is_read(tmp_path):
    def bare(image):
        stream = io.BytesIO()
        content = pydicom.Dataset(image)
        content.save_as(stream, implicit_vr=True, little_endian=True, enforce_file_format=False)
        return stream.getvalue()

    values = write_pet(tmp_path / "pet")
    rewritten(tmp_path / "pet", bare)
    assert (tmp_path / "pet" / "IM0").read_bytes()[:2] == b"\x08\x00"
    (tmp_path / "pet" / "notes").write_bytes(b"\x08\x00\x00\x00 no DICOM")
    _, result = derived(tmp_path / "pet", tmp_path / "out")
    np.testing.assert_allclose(result.volume.array, values, atol=0.2)


def test_one_file_of_a_series_is_no_image(tmp_path):
    write_pet(tmp_path / "pet")
    for out in (tmp_path / "out.nii.gz", tmp_path / "out"):
        with pytest.raises(InputError, match="IM1 is one DICOM file; give the folder of its series"):
            predict([tmp_path / "pet" / "IM1"], [out])


def test_messages_and_sources_name_the_users_files(tmp_path):
    write_pet(tmp_path / "mr", Modality="MR")
    with pytest.raises(InputError, match=f"^{tmp_path / 'mr'} is not a PET image"):
        predict([tmp_path / "mr"], [tmp_path / "out"])
    write_pet(tmp_path / "pet")
    write_json(tmp_path / "model" / "model.json", {"method": "lowdose"})
    (tmp_path / "low.json").write_text("{}")
    pet = read_pet(tmp_path / "pet")
    pet.volume.save(tmp_path / "low.nii.gz")
    choices = {"mr": tmp_path / "mr", "model": tmp_path / "model", "drf": 4}
    predict([tmp_path / "low.nii.gz"], [tmp_path / "out.nii.gz"], **choices)
    assert read_json(tmp_path / "out.json")["Sources"] == ["low.nii.gz", "mr"]


@pytest.mark.parametrize("falls", [True, False])
def test_numbers_of_images_agree_and_keep_their_direction(tmp_path, falls):
    write_pet(tmp_path / "pet", ImageIndex=lambda i: 4 - i if falls else i + 1, InstanceNumber=9)
    _, result = derived(tmp_path / "pet", tmp_path / "out")
    numbers = [int(header.InstanceNumber) for header in result.headers]
    assert numbers == ([4, 3, 2, 1] if falls else [1, 2, 3, 4])
    assert numbers == [header.ImageIndex for header in result.headers]


@pytest.mark.parametrize(
    ("units", "factor", "name"), [("Bq/mL", 1, "BQML"), ("kBq/mL", 1e3, "BQML"), ("SUV", 1, "GML")]
)
@pytest.mark.parametrize("said", [None, "CNTS", "PROPCPS"])
def test_units_that_a_header_does_not_name_are_the_users(tmp_path, units, factor, name, said):
    values = write_pet(tmp_path / "pet", Units=said)
    with pytest.raises(InputError, match=f"{said or 'without Units'}'?; give --units"):
        read_series(tmp_path / "pet")
    source, result = derived(tmp_path / "pet", tmp_path / "out", units=units)
    np.testing.assert_allclose(source.volume.array, values * factor, rtol=1e-6)
    assert f"it is taken as {units}, by --units" in source.notes[0]
    assert source.facts["Units"] == source.volume.unit == result.volume.unit
    assert {header.Units for header in result.headers} == {name}


def test_units_that_a_header_names_cannot_be_denied(tmp_path):
    write_pet(tmp_path / "pet")
    assert read_series(tmp_path / "pet", units="Bq/mL").notes == ()
    for units in ("kBq/mL", "SUV"):
        with pytest.raises(InputError, match=f"is in Bq/mL by its headers, not in {units}"):
            read_series(tmp_path / "pet", units=units)
    with pytest.raises(InputError, match="the unit 'MBq' is not Bq/mL"):
        read_series(tmp_path / "pet", units="MBq")


def philips(**factors):
    def edit(image, index):
        image.Units = "CNTS"
        block = image.private_block(0x7053, "Philips PET Private Group", create=True)
        for name, value in factors.items():
            block.add_new({"suv": 0x00, "activity": 0x09}[name], "DS", value)

    return edit


@pytest.mark.parametrize(
    ("factors", "units", "unit", "factor"),
    [
        ({"suv": "0.00055", "activity": "1.8"}, None, "Bq/mL", 1.8),
        ({"suv": "0.00055", "activity": "1.8"}, "SUV", "SUV", 0.00055),
        ({"suv": "0.00055", "activity": "0"}, None, "SUV", 0.00055),
    ],
)
def test_counts_of_philips_are_scaled_by_their_private_factors(tmp_path, factors, units, unit, factor):
    values = write_pet(tmp_path / "pet", edit=philips(**factors))
    source, result = derived(tmp_path / "pet", tmp_path / "out", units=units)
    np.testing.assert_allclose(source.volume.array, values * factor, rtol=1e-5)
    assert source.volume.unit == unit and "by Philips' factor (7053,10" in source.notes[0]
    step = abs(source.volume.array).max() / 3e4
    np.testing.assert_allclose(result.volume.array, source.volume.array, atol=step)
    block = result.headers[0].private_block(0x7053, "Philips PET Private Group")
    assert 0x00 not in block and 0x09 not in block, "no reader multiplies by them again"


def test_facts_are_those_of_all_slices(tmp_path, caplog):
    def too_little(image, index):
        image.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = 250

    write_pet(
        tmp_path / "pet",
        ActualFrameDuration=lambda index: 1000 * (index + 1),
        AcquisitionTime=lambda index: f"10{20 - index}00",
        Units="GML",
        SUVType="LBM",
        edit=too_little,
    )
    facts = read_series(tmp_path / "pet").facts
    assert "FrameDuration" not in facts and "differ in FrameDuration" in caplog.text
    assert (
        "InjectedRadioactivity" not in facts and "an injected activity of 250 Bq, too little" in caplog.text
    )
    assert facts["SUVType"] == "LBM" and facts["ScanStart"] == 47 * 60, "the earliest, 10:17 after 9:30"


def test_what_cannot_be_written_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    write_pet(tmp_path / "pet")
    source = read_series(tmp_path / "pet")
    source.headers[2].add_new(0x00091001, "US", "no number")
    with pytest.raises(InputError, match="no series can be derived from these headers .*; convert"):
        check_writable(tmp_path / "out", source)
    computes = "csrd.stages.denoiser.Shown.to"
    monkeypatch.setattr(computes, lambda *a, **k: pytest.fail("something was computed"))
    (tmp_path / "file").write_text("")
    for out, sentence in ((tmp_path / "pet", "not empty"), (tmp_path / "file" / "out", "choose another")):
        with pytest.raises(InputError, match=sentence):
            predict([tmp_path / "pet"], [out])


def test_values_below_zero_are_stored_signed_with_no_intercept(tmp_path):
    values = write_pet(tmp_path / "pet", RescaleIntercept=-900) - 896
    _, result = derived(tmp_path / "pet", tmp_path / "out")
    assert values.min() < 0 and result.volume.array.min() == pytest.approx(values.min(), abs=0.1)
    assert {header.RescaleIntercept for header in result.headers} == {0}


def test_notices_reach_a_handler_of_the_applications(tmp_path):
    texts = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    logging.getLogger("csrd").addHandler(handler)
    try:
        write_pet(tmp_path / "pet", edit=removed("NumberOfSlices"))
        read_series(tmp_path / "pet")
    finally:
        logging.getLogger("csrd").removeHandler(handler)
    assert len(texts) == 1 and texts[0].startswith(str(tmp_path / "pet"))

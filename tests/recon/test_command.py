"""The outside engine, with stand-in commands that write, fail, hang, or write garbage."""

import json
import stat
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from csrd.config.sections import Command, Recon
from csrd.errors import InputError
from csrd.io.interfile_image import read_interfile
from csrd.io.volume import Volume, centred_affine
from csrd.stages.command import fill_in, run_command_engine

SHAPE, VOXEL_MM, DRF = (4, 5, 6), 2.0, 4
RECON = Recon(matrix=SHAPE, voxel_mm=VOXEL_MM, subsets=7, iterations=3)
SETTINGS = ["-it", "3:7", "4,5,6", "2", "2.11934"]  # FWHM of the core of 0.9 mm


@pytest.fixture
def engine(tmp_path):
    """Return a function that runs a stand-in engine, given as Python source with `args` and `output`."""

    def run(body: str, run: str = "", **settings) -> Volume:
        folder = tmp_path / "my tools"
        folder.mkdir(exist_ok=True)
        script = folder / "stand in.py"
        script.write_text(
            f"#!{sys.executable}\nimport sys, time, json, numpy as np\nfrom pathlib import Path\n"
            f"args = sys.argv[1:]\noutput = Path(args[-1])\n{body}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        template = f"'{script}' {run or '--lm={listmode} {output}'}"
        settings = {"scales_dose": "engine", "unit": "Bq/mL", **settings}
        inputs = {
            "listmode": tmp_path / "a file; touch oops.l64",
            "header": tmp_path / "h.hdr",
            "mumap": None,
        }
        command = Command(run=template, **settings)
        return run_command_engine(command, RECON, inputs, DRF, threads=2, log=tmp_path / "log.txt")

    return run


def image(shape=SHAPE, voxel_mm=VOXEL_MM, value=1.0) -> str:
    """Return the source that saves a constant image."""
    return (
        "from csrd.io.volume import Volume, centred_affine\n"
        f"Volume(np.full({shape}, {value}, np.float32), centred_affine({shape}, {voxel_mm})).save(output)"
    )


def test_arguments_arrive_whole_and_absolute(engine, tmp_path):
    body = f"Path({str(tmp_path / 'args.json')!r}).write_text(json.dumps(args))\n" + image()
    asked = "-d {drf} -j {threads} -it {iterations}:{subsets} {matrix} {voxel_mm} {psf_fwhm_mm}"
    volume = engine(body, f'--lm={{listmode}} --hdr "{{header}}" {asked} {{output}}')
    arguments = json.loads((tmp_path / "args.json").read_text())
    assert arguments[0] == f"--lm={tmp_path / 'a file; touch oops.l64'}"
    assert arguments[1:-1] == ["--hdr", str(tmp_path / "h.hdr"), "-d", "4", "-j", "2", *SETTINGS]
    assert arguments[-1].endswith(".nii.gz")
    assert not Path("oops.l64").exists()
    assert volume.unit == "Bq/mL" and np.allclose(volume.affine, centred_affine(SHAPE, VOXEL_MM))


@pytest.mark.parametrize(("scales_dose", "factor"), [("engine", 1), ("csrd", DRF)])
def test_dose_is_scaled_exactly_once(engine, scales_dose, factor):
    assert np.all(engine(image(value=3.0), scales_dose=scales_dose).array == 3 * factor)


def test_failure_shows_the_last_words(engine, tmp_path):
    with pytest.raises(InputError, match=r"exit status 3; .*: one \| two \| no licence found"):
        engine("print('one\\ntwo', flush=True); sys.exit(print('no licence found', file=sys.stderr) or 3)")
    assert "one\n" in (tmp_path / "log.txt").read_text()


@pytest.mark.posix
def test_hanging_command_is_ended_with_its_children(engine, tmp_path):
    mark = tmp_path / "alive"
    child = f"import time\nwhile True:\n    open({str(mark)!r}, 'a').write('x'); time.sleep(.05)"
    with pytest.raises(InputError, match="ended after 0.02 minutes; raise recon.command.time_limit_min"):
        engine(
            f"import subprocess; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)",
            time_limit_min=0.02,
        )
    written = mark.stat().st_size if mark.exists() else 0
    time.sleep(0.2)
    assert (mark.stat().st_size if mark.exists() else 0) == written


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("pass", "was not written"),
        ("output.write_text('garbage')", "not a readable NIfTI"),
        (image(shape=(4, 5, 7)), r"has shape \(4, 5, 7\), but recon.matrix is \(4, 5, 6\)"),
        (image(voxel_mm=3.0), "voxels of .* but recon.voxel_mm is 2"),
        (
            image().replace(f"centred_affine({SHAPE}, {VOXEL_MM})", "np.diag([2.0, 2, 2, 1])"),
            r"centre at \[3. 4. 5.\] mm, not at the scanner's",
        ),
        (image(value="np.nan"), "not finite"),
        (image(value=0.0), "0 everywhere"),
    ],
)
def test_garbage_is_refused(engine, body, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        engine(body)
    assert "last lines" in str(caught.value)


def test_command_that_cannot_start(tmp_path):
    command = Command(run="no-such-program {listmode} {output}", scales_dose="csrd", unit="Bq/mL")
    with pytest.raises(InputError, match="cannot start no-such-program"):
        run_command_engine(command, RECON, {"listmode": tmp_path}, 4, 1, tmp_path / "log")


def test_missing_input_is_named():
    with pytest.raises(InputError, match="{normalisation}, but this subject has none"):
        fill_in("x {normalisation}", {"normalisation": None})


HEADER = """!INTERFILE  :=
!imaging modality := nucmed
; a comment := ignored
name of data file := image.v
imagedata byte order := {order}
!PET data type := Image
process status :=
number format := {kind}
!number of bytes per pixel := {size}
!matrix size[1] := 4
!matrix size [2] := 5
Matrix Size [3]:=6
scaling factor (mm/pixel) [1] := 2
scaling factor (mm/pixel) [2] := +2.0e+00
scaling factor (mm/pixel) [3] := 2
image relative start time (sec)[1] := {{0,
  60}}
quantification units := 0.5
!END OF INTERFILE :=
"""


@pytest.mark.parametrize(
    ("kind", "dtype", "order"),
    [
        ("float", "<f4", "LITTLEENDIAN"),
        ("short float", ">f4", "bigendian"),
        ("signed integer", "<i2", "littleendian"),
    ],
)
def test_interfile_image(tmp_path, kind, dtype, order):
    expected = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    expected.transpose(2, 1, 0).astype(dtype).tofile(tmp_path / "image.v")
    header = tmp_path / "image.hv"
    header.write_text(HEADER.format(kind=kind, size=np.dtype(dtype).itemsize, order=order))
    volume = read_interfile(header, "LPS")
    assert np.array_equal(volume.array, expected * np.float32(0.5))
    assert np.allclose(np.diag(volume.affine), [-2, -2, 2, 1])
    assert np.allclose(volume.affine @ [1.5, 2, 2.5, 1], [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        ("number format := float", "number format := text", "number format 'text'"),
        ("!matrix size [2] := 5", "", "lacks 'matrix size"),
        ("!matrix size [2] := 5", "!matrix size [2] := five", "'five'; it must be a number"),
        ("image.v", "elsewhere.v", "'elsewhere.v', which is not beside it"),
        ("!matrix size [2] := 5", "!matrix size [2] := 6", "bytes, but image.hv says"),
        ("!INTERFILE", "!something", "does not begin with !INTERFILE"),
    ],
)
def test_wrong_interfile_headers(tmp_path, wrong, right, sentence):
    np.zeros(SHAPE, "<f4").tofile(tmp_path / "image.v")
    header = tmp_path / "image.hv"
    text = HEADER.format(kind="float", size=4, order="littleendian").replace(wrong, right)
    header.write_text(text.replace("END OF INTERFILE", "END"))
    with pytest.raises(InputError, match=sentence):
        read_interfile(header)


def test_interfile_output(engine):
    text = HEADER.format(kind="float", size=4, order="littleendian").replace("image.v", "pet.v")
    body = f"np.ones({SHAPE[::-1]}, '<f4').tofile(output.parent / 'pet.v'); output.write_text({text!r})"
    assert np.all(engine(body, output_suffix=".hv").array == 0.5)


@pytest.mark.parametrize(("unit", "expected"), [("Bq/mL", 3.0), ("kBq/mL", 3000.0)])
def test_the_unit_of_the_settings_holds_for_an_image_that_names_none(engine, unit, expected):
    volume = engine(image(value=3.0), unit=unit)
    assert volume.unit == "Bq/mL" and not volume.notes and np.all(volume.array == expected)


@pytest.mark.parametrize("name", ["header", "sidecar"])
def test_an_image_that_names_another_unit_is_refused(engine, name):
    body = (
        image().replace(").save", ", 'kBq/mL').save")
        if name == "header"
        else image() + "\nPath(str(output).replace('.nii.gz', '.json')).write_text('{\"Units\": \"kBq/mL\"}')"
    )
    with pytest.raises(
        InputError, match=f"its unit is kBq/mL by its {name}, Bq/mL by its recon.command.unit"
    ):
        engine(body)
    assert np.all(engine(body, unit="kBq/mL").array == 1000)
    with pytest.raises(InputError, match="names its unit; set recon.command.unit to it"):
        engine(body, unit="relative")


def test_uncalibrated_images_are_noted_and_calibration_makes_them_activities(engine):
    volume = engine(image(value=3.0), unit="relative", scales_dose="csrd")
    assert np.all(volume.array == 3 * DRF) and len(volume.notes) == 1
    assert "uncalibrated" in volume.notes[0]
    volume = engine(image(value=3.0), unit="relative", calibration=50)
    assert np.all(volume.array == 150) and volume.unit == "Bq/mL" and not volume.notes


def test_the_axes_of_a_nifti_image_may_be_given(engine):
    centred = f"centred_affine({SHAPE}, {VOXEL_MM})"
    flipped = image().replace(centred, f"np.diag([-1, -1, 1, 1]) @ {centred}")
    assert np.all(np.diag(engine(flipped).affine)[:3] == [-2, -2, 2])
    assert np.allclose(engine(flipped, nifti_axes="RAS").affine, centred_affine(SHAPE, VOXEL_MM))


def test_an_untested_preset_says_so(engine, caplog):
    engine(image())
    assert "untested" not in caplog.text
    engine(image(), untested=True)
    assert "was never run with its program" in caplog.text


def test_the_commands_temporary_files_go_with_it(engine, tmp_path):
    note = f"import tempfile; Path({str(tmp_path / 'where')!r}).write_text(tempfile.mkdtemp())\n"
    engine(note + image())
    assert not Path((tmp_path / "where").read_text()).exists()


@pytest.mark.parametrize(
    ("kind", "dtype", "scale", "expected"),
    [
        ("float", "<f4", "data rescale slope := 0.25", 0.25),
        ("signed integer", "<i2", "rescale slope := 4", 4.0),
        ("float", "<f4", "quantification units := 1\ndata rescale slope := 0.25", 0.25),  # as CASToR writes
        ("float", "<f4", "quantification units := 2\nrescale slope := 4", "has two scales"),
        ("float", "<f4", "quantification units := 2\nrescale intercept := 7", "has a rescale offset"),
        ("signed integer", "<i2", "", "has integers without a scale"),
        ("signed integer", "<i2", "quantification units :=", "has integers without a scale"),
    ],
)
def test_the_scale_of_an_interfile_image_is_never_guessed(tmp_path, kind, dtype, scale, expected):
    np.ones(SHAPE[::-1], dtype).tofile(tmp_path / "image.v")
    text = HEADER.format(kind=kind, size=np.dtype(dtype).itemsize, order="littleendian")
    (tmp_path / "image.hv").write_text(text.replace("quantification units := 0.5", scale))
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            read_interfile(tmp_path / "image.hv")
    else:
        volume = read_interfile(tmp_path / "image.hv")
        assert np.all(volume.array == expected) and not volume.notes


def test_floats_without_a_scale_are_noted(engine):
    text = HEADER.format(kind="float", size=4, order="littleendian").replace("image.v", "pet.v")
    text = text.replace("quantification units := 0.5\n", "")
    body = f"np.ones({SHAPE[::-1]}, '<f4').tofile(output.parent / 'pet.v'); output.write_text({text!r})"
    volume = engine(body, output_suffix=".hv")
    assert np.all(volume.array == 1)
    assert [note.endswith("values are used as stored") for note in volume.notes] == [True]
    assert "/csrd-recon-" not in volume.notes[0], "a temporary file"

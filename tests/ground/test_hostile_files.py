"""Files that promise more than they hold, hold code, or point elsewhere are refused in one sentence."""

import gzip
import pickle
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from csrd.cohort.sheet import COLUMNS, read_sheet
from csrd.config import load
from csrd.errors import InputError
from csrd.io.interfile_image import read_interfile
from csrd.io.normalisation import read_efficiencies
from csrd.io.volume import Volume
from csrd.scanner.geometry import hrrt
from csrd.stages.command import _run, fill_in
from csrd.train.checkpoint import load_weights


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_image_that_promises_terabytes(tmp_path, suffix):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
    header = bytearray(image.to_bytes()[:352])
    struct.pack_into("<8h", header, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(gzip.compress(header) if suffix.endswith("gz") else header)
    with pytest.raises(InputError, match="has shape .* more than .* voxels; crop or resample it$"):
        Volume.load(path)


def test_an_array_that_promises_terabytes(tmp_path):
    path = tmp_path / "bomb.npy"
    with open(path, "wb") as stream:
        facts = {"descr": "<f4", "fortran_order": False, "shape": (10**13,)}
        np.lib.format.write_array_header_1_0(stream, facts)
    with pytest.raises(InputError, match="has shape .10000000000000,."):
        read_efficiencies(path, hrrt().crystals, "HRRT")


def test_an_archive_of_arrays(tmp_path):
    np.savez_compressed(tmp_path / "many.npz", a=np.zeros(9))
    with pytest.raises(InputError, match="is an archive of arrays; save the efficiencies alone"):
        read_efficiencies(tmp_path / "many.npz", hrrt().crystals, "HRRT")


@pytest.mark.parametrize("size", ["4194304, 2097152, 2097152", "1000000, 1000000, 1000000"])
def test_an_interfile_that_promises_terabytes(tmp_path, size):
    """The first size's product is 0 in 64 bits."""
    header = interfile(tmp_path, "image.v", size.split(", "))
    (tmp_path / "image.v").write_bytes(b"")
    with pytest.raises(InputError, match="has 0 bytes, but image.hv says"):
        read_interfile(header)


@pytest.mark.parametrize("named", ["../secret.v", "/etc/hostname", r"..\secret.v"])
def test_a_header_that_points_elsewhere(tmp_path, named):
    (tmp_path / "secret.v").write_bytes(bytes(4))
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises(InputError, match="which is not beside it; copy it there"):
        read_interfile(interfile(folder, named, "111"))


def test_no_pickle_is_loaded(tmp_path):
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    (tmp_path / "weights.safetensors").write_bytes(trap)
    with pytest.raises(InputError, match="is not a readable weights file"):
        load_weights(tmp_path / "weights.safetensors", network=None)
    (tmp_path / "pickled.npy").write_bytes(trap)
    objects = np.full(hrrt().crystals, Trap(sprung), object)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    for name, reason in (
        ("pickled.npy", "is not a readable .npy array"),
        ("objects.npy", "holds object, not numbers"),
    ):
        with pytest.raises(InputError, match=reason):
            read_efficiencies(tmp_path / name, hrrt().crystals, "HRRT")
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists(), "the trap works"


@pytest.mark.parametrize("name", ["a b; touch sprung", "$(touch sprung)", "`touch sprung`", "{drf}", "'"])
def test_a_file_name_is_one_word_of_the_command(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    data, output = tmp_path / name, tmp_path / "out"
    data.write_text("data")
    words = fill_in("cp {listmode} {output}", {"listmode": data, "output": output, "drf": 4})
    assert words == ["cp", str(data), str(output)]
    with open(tmp_path / "log", "wb") as log:
        assert _run(words, log, 60, tmp_path) is None
    assert output.read_text() == "data" and not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["sub-../../x", "../x", "sub-a/b", "sub-a b", "sub-ä", "/sub-a"])
def test_a_name_stays_in_the_results_folder(tmp_path, name):
    row = dict.fromkeys(COLUMNS, "n/a") | {"participant_id": name}
    (tmp_path / "sheet.tsv").write_text("\t".join(COLUMNS) + "\n" + "\t".join(row.values()) + "\n")
    with pytest.raises(InputError, match="participant_id is .*; write sub- and letters or digits"):
        read_sheet(tmp_path / "sheet.tsv", load({}))


def interfile(folder: Path, data: str, size) -> Path:
    lines = ["!INTERFILE :=", f"name of data file := {data}", "number format := float"]
    lines += ["number of bytes per pixel := 4", "imagedata byte order := LITTLEENDIAN"]
    for axis, count in enumerate(size, start=1):
        lines += [f"matrix size [{axis}] := {count}", f"scaling factor (mm/pixel) [{axis}] := 1"]
    (folder / "image.hv").write_text("\n".join(lines) + "\n")
    return folder / "image.hv"

"""Whole files, errors in one line, and draws that depend on nothing but their names."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from csrd.errors import InputError, plain_errors
from csrd.io.files import checksums, read_json, refuse_locked, sha256, whole_file, write_json
from csrd.seeds import generator, key64


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.nii.gz"
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), whole_file(path) as temporary:
            assert temporary.name.endswith(".nii.gz") and temporary.parent == path.parent
            temporary.write_text("half")
            raise error
        assert not list(path.parent.iterdir())
    with whole_file(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(ValueError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "a").write_text("a file, no folder")
    with pytest.raises(InputError, match="cannot write .*a/b.json: .*choose another output folder"):
        write_json(tmp_path / "a" / "b.json", {})


def test_what_killed_writers_left_is_swept_and_living_ones_are_let_alone(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = "a_drf-4.nii.gz"
    kept = ["a_drf-4_part1.nii.gz", "a_drf-4_part0x.nii.gz", f"b_part{dead.pid}.nii.gz", "a_drf-4.json"]
    for name in (f"a_drf-4_part{dead.pid}.nii.gz", *kept):  # process 1 always lives
        (tmp_path / name).touch()
    with whole_file(tmp_path / mine) as temporary:
        temporary.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine, *kept])


def test_the_disk_has_the_content_before_the_name(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda _: order.append((tmp_path / "a").exists()))
    with whole_file(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert order == [False] and (tmp_path / "a").exists()


def test_checksums_tell_files_apart(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert checksums([tmp_path / "a"]) == {
        str(tmp_path / "a"): {"bytes": 3, "sha256": sha256(tmp_path / "a")}
    }
    with pytest.raises(InputError, match="cannot read .*b .No such file"):
        checksums([tmp_path / "b"])


@pytest.fixture
def locked():
    """Return a folder in which nobody may write, and be nobody meanwhile: root may write anywhere."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    if root := os.geteuid() == 0:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.rmdir()


def test_a_locked_folder_is_told_before_anything_is_computed(locked):
    with pytest.raises(InputError, match="cannot write .*new/a.json: .*: Permission denied; choose another"):
        refuse_locked(locked / "new" / "a.json")
    with pytest.raises(InputError, match="cannot write .*a.json: Permission denied; .*another output folder"):
        write_json(locked / "a.json", {})
    assert not list(locked.iterdir())


def test_an_open_folder_is_no_reason_to_stop(tmp_path):
    refuse_locked(tmp_path / "new" / "folder" / "a.json")
    assert not list(tmp_path.iterdir())


def test_json_comes_back_or_is_refused(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2]}
    for content, sentence in (
        ("{", "not readable JSON"),
        ("[1]", "no JSON object"),
        (None, "does not exist"),
    ):
        (tmp_path / "a.json").unlink() if content is None else (tmp_path / "a.json").write_text(content)
        with pytest.raises(InputError, match=sentence):
            read_json(tmp_path / "a.json")


def test_checksum_of_nothing(tmp_path):
    (tmp_path / "empty").touch()
    assert sha256(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_a_mistake_is_one_line_in_the_log_and_on_the_terminal(tmp_path, capsys):
    log = tmp_path / "logs" / "a.log"
    with pytest.raises(SystemExit) as ended, plain_errors(log):
        print("so far so good")
        raise InputError("a.nii is empty; copy it again")
    assert ended.value.code == 1
    assert log.read_text() == "so far so good\ncsrd: a.nii is empty; copy it again\n"
    assert capsys.readouterr() == ("", "csrd: a.nii is empty; copy it again\n")


@pytest.mark.parametrize(
    "allocate", [lambda: np.empty(2**60, np.uint8), lambda: torch.empty(2**60, dtype=torch.uint8)]
)
def test_too_little_memory_is_one_line(tmp_path, capsys, allocate):
    with pytest.raises(SystemExit), plain_errors(tmp_path / "a.log"):
        allocate()
    said = "csrd: there was not enough memory; run fewer jobs at once (--cores), or use a larger machine\n"
    assert (tmp_path / "a.log").read_text() == capsys.readouterr().err == said


def test_a_full_disk_does_not_hide_what_is_said_of_it(tmp_path, capsys):
    (tmp_path / "a.log").symlink_to("/dev/full")
    with pytest.raises(SystemExit), plain_errors(tmp_path / "a.log"):
        raise InputError("cannot write a.nii; free some space")
    assert capsys.readouterr().err == "csrd: cannot write a.nii; free some space\n"


def test_a_log_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "logs").touch()
    with pytest.raises(SystemExit, match="cannot write .*a.log"), plain_errors(tmp_path / "logs" / "a.log"):
        pytest.fail("the block ran")


def test_a_fault_of_ours_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), plain_errors(tmp_path / "a.log"):
        1 / 0  # noqa: B018
    assert "Traceback" in (tmp_path / "a.log").read_text()


def test_a_draw_depends_on_each_of_its_names():
    names = [(1, "thin", "sub-01"), (2, "thin", "sub-01"), (1, "thin", "sub-02"), (1, "thinsub-01"), (1,)]
    assert len({key64(*name) for name in names}) == len(names)
    assert key64(*names[0]) == key64(*names[0])
    first, again = (generator(*names[0]).random(5) for _ in range(2))
    np.testing.assert_array_equal(first, again)

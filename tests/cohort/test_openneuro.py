"""A dataset of OpenNeuro, of which a local server has a miniature: what is fetched, resumed, chosen."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from csrd.cohort.rows import is_column
from csrd.errors import InputError
from csrd.io.tables import read_tsv
from csrd.stages.openneuro import COLUMNS, PROGRAM, listing, openneuro, split_of, wanted
from tests.openneuro_server import CLIENT, serving

SUBJECTS = "02", "05", "06"
LISTMODE = "sourcedata/sub-05/pet/sub-05_run-001_listmode.bf"


def write(path: Path, content: bytes | dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(content).encode() if isinstance(content, dict) else content)


def dataset(folder: Path) -> Path:
    """Write a dataset's files, by name as in ds003382, with any content."""
    write(folder / "dataset_description.json", {"DatasetDOI": "doi:10.18112/openneuro.ds003382.v1.5.0"})
    rows = [
        "participant_id\tbody_weight\tdose",
        *(f"sub-{label}\t{60 + int(label)}\t100" for label in SUBJECTS),
    ]
    write(folder / "participants.tsv", "\n".join(rows).encode())
    for label in SUBJECTS:
        raw, own = folder / "sourcedata" / f"sub-{label}" / "pet", folder / f"sub-{label}"
        for part in ("listmode", "norm", "sinogram", "physio"):
            for suffix in (".dcm", ".bf"):
                write(
                    raw / f"sub-{label}_run-001_{part}{suffix}", f"{label} {part} {suffix} ".encode() * 5000
                )
            write(raw / f"sub-{label}_run-001_{part}.json", {"TracerName": "FDG"})
        images = {
            f"anat/sub-{label}_run-001_T1w": {},
            f"pet/sub-{label}_task-checkerboard_trc-18FFDG_rec-acstat_run-001_pet": {"Units": "Bq/ml"},
            f"pet/sub-{label}_task-checkerboard_trc-18FFDG_rec-acdyn_run-001_pet": {},
            f"dixon/sub-{label}_run-001_dixon-umap": {"ImageType": ["DERIVED", "UMAP3D"]},
            f"ute/sub-{label}_run-001_ute-umap-original": {"ImageType": ["DERIVED", "UMAP3D"]},
            f"ute/sub-{label}_run-001_ute-umap": umap("10:14:34.9"),
            f"ute/sub-{label}_run-002_ute-umap": umap("10:18:13.7"),
            f"ute/sub-{label}_run-003_ute": {"ImageType": ["ORIGINAL", "PRIMARY"]},
        }
        for name, sidecar in images.items():
            write(own / f"{name}.json", sidecar)
            write(own / f"{name}.nii.gz", name.encode() * 100)
    return folder


def person(label: str) -> str:
    return f"sub-{label}\t{60 + int(label)}\t100"


def umap(clock: str) -> dict:
    return {"ImageType": ["DERIVED", "UMAP3D"], "AcquisitionTime": clock}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return dataset(tmp_path_factory.mktemp("ds003382"))


@pytest.fixture
def client(tmp_path, monkeypatch) -> None:
    """Let the client find a local server; skip where it is not installed."""
    place = Path(sys.executable).parent.parent / "openneuro" / "bin"  # by `make openneuro`
    monkeypatch.setenv("PATH", os.pathsep.join([str(place), os.environ["PATH"]]))
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed: make openneuro installs it")
    write(tmp_path / "site" / "sitecustomize.py", CLIENT.encode())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def test_only_what_is_needed_is_fetched(source, client, tmp_path, monkeypatch):
    with serving(source) as server:
        monkeypatch.setenv("TEST_OPENNEURO", server.api)
        target = tmp_path / "data"
        summary = openneuro("ds003382", SUBJECTS, target, server=server.api)
        once = len(server.requests)
        assert openneuro("ds003382", SUBJECTS, target, server=server.api)["files"] == summary["files"]
    there = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    images = {name for name in there if name.endswith((".nii.gz", ".bf", ".dcm"))}
    assert images == {
        f"{name}".replace("LL", label)
        for label in SUBJECTS
        for name in (
            "sourcedata/sub-LL/pet/sub-LL_run-001_listmode.dcm",
            "sourcedata/sub-LL/pet/sub-LL_run-001_listmode.bf",
            "sourcedata/sub-LL/pet/sub-LL_run-001_norm.dcm",
            "sourcedata/sub-LL/pet/sub-LL_run-001_norm.bf",
            "sub-LL/anat/sub-LL_run-001_T1w.nii.gz",
            "sub-LL/pet/sub-LL_task-checkerboard_trc-18FFDG_rec-acstat_run-001_pet.nii.gz",
            "sub-LL/ute/sub-LL_run-002_ute-umap.nii.gz",
        )
    }, "of two UTE maps the later; neither dixon, sinogram nor dynamic images"
    assert all((target / name).read_bytes() == (source / name).read_bytes() for name in images)
    assert len(server.requests) == once, "nothing is fetched twice"
    rows = [row for _, row in read_tsv(target / "subjects.tsv", "").rows]
    assert [row["split"] for row in rows] == ["train", "validation", "test"]
    assert rows[0]["weight_kg"] == "62" and rows[0]["injected_MBq"] == "100" and rows[0]["tracer"] == "18FFDG"
    assert all((target / rows[1][column]).is_file() for column in ("listmode", "t1w", "mumap", "vendor"))


def test_half_a_download_goes_on_where_it_was(source, client, tmp_path, monkeypatch):
    with serving(source) as server:
        monkeypatch.setenv("TEST_OPENNEURO", server.api)
        server.broken = LISTMODE
        openneuro("ds003382", SUBJECTS, tmp_path / "data", server=server.api)
    asked = [first for name, first in server.requests if name == LISTMODE]
    size = (source / LISTMODE).stat().st_size
    assert asked[0] == 0 and 0 < asked[1] <= size // 2, "from the bytes that were there, not from the start"
    assert (tmp_path / "data" / LISTMODE).read_bytes() == (source / LISTMODE).read_bytes()


def test_a_damaged_file_is_fetched_again(source, client, tmp_path, monkeypatch):
    with serving(source) as server:
        monkeypatch.setenv("TEST_OPENNEURO", server.api)
        openneuro("ds003382", SUBJECTS, tmp_path / "data", server=server.api)
        damaged = tmp_path / "data" / LISTMODE
        damaged.write_bytes(b"x" * damaged.stat().st_size)
        openneuro("ds003382", SUBJECTS, tmp_path / "data", server=server.api)
    assert damaged.read_bytes() == (source / LISTMODE).read_bytes()


def test_sizes_are_said_before_anything_is_fetched(source, tmp_path):
    with serving(source) as server:
        found = openneuro("ds003382", ["sub-05"], tmp_path / "data", dry_run=True, server=server.api)
    assert found["subjects"] == ["sub-05"] and not (tmp_path / "data").exists() and not server.requests
    assert found["bytes_by_file"][LISTMODE] == (source / LISTMODE).stat().st_size
    assert found["gigabytes"] == round(sum(found["bytes_by_file"].values()) / 1e9, 3)


def test_mistakes_are_one_sentence(source, tmp_path):
    with serving(source) as server:
        for arguments, sentence in (
            (("ds003382", ["09"]), "has no list-mode of sub-09; choose from sub-02, sub-05, sub-06"),
            (("ds999999", []), "lists no files of ds999999"),
            (("../etc", []), "write ds and six digits"),
        ):
            with pytest.raises(InputError, match=sentence):
                openneuro(*arguments, tmp_path, dry_run=True, server=server.api)
        with pytest.raises(InputError, match="give 3 or more"):
            openneuro("ds003382", ["02", "05"], tmp_path, server=server.api)
        assert not server.requests, "before anything is fetched"
        sizes = listing("ds003382", server.api)
    with pytest.raises(InputError, match="cannot be reached"):
        listing("ds003382", server.api)
    for lacking, sentence in (("listmode.bf", "not one pair"), ("T1w.nii.gz", "has no T1w"), ("umap", "")):
        left = [name for name in sizes if lacking not in name]
        if sentence:
            with pytest.raises(InputError, match=sentence):
                wanted(left, "sub-05")
    assert (
        list(split_of([f"sub-{n}" for n in range(10)]).values())
        == ["train"] * 4 + ["validation"] + ["test"] * 5
    )


def test_every_column_of_the_sheet_is_one():
    assert all(map(is_column, COLUMNS))

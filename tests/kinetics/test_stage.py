"""Curves and BP_ND from files: labels and names, other grids, times, what is refused."""

import json

import numpy as np
import pytest

from csrd.align.labels import majority, read_labels
from csrd.errors import InputError
from csrd.io.files import write_json
from csrd.io.volume import Volume, centred_affine, writing_frames
from csrd.kinetics.curves import region_means
from csrd.kinetics.tables import read_tacs
from csrd.stages.kinetics import kinetics, tacs
from tests.kinetics.tissue import frame_means

EDGES = np.array([0, 30, 60, 120, 240, 480, 900, 1500, 2100, 2700, 3600.0])
SHAPE, LABELS = (8, 6, 4), {8: "Left-Cerebellum-Cortex", 12: "Left-Putamen"}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a scan whose putamen has BP_ND 1.5, and FreeSurfer's labels on half the voxels."""
    grid = Volume(np.zeros(SHAPE, np.float32), centred_affine(SHAPE, 4.0), "Bq/mL")
    fine = np.zeros([2 * n for n in SHAPE], np.int16)
    fine[:8], fine[8:] = 8, 12
    Volume(fine, centred_affine(fine.shape, 2.0), "label").save(tmp_path / "aseg.nii.gz")
    curves = [frame_means(EDGES, 0.001 / (1 + bp)) for bp in (0.0, 1.5)]
    with writing_frames(tmp_path / "pet.nii.gz", grid, len(EDGES) - 1) as append:
        for values in zip(*curves, strict=True):
            append(np.repeat(values, 4)[:, None, None] * np.ones(SHAPE))
    times = {"FrameTimesStart": EDGES[:-1].tolist(), "FrameDuration": np.diff(EDGES).tolist()}
    write_json(tmp_path / "pet.json", {"TracerRadionuclide": "C11", "ImageDecayCorrected": True, **times})
    return tmp_path


def test_from_a_scan_with_freesurfers_labels_to_bp(folder):
    tacs(folder / "pet.nii.gz", folder / "curves.tsv", labels=folder / "aseg.nii.gz")
    found = read_tacs(folder / "curves.tsv")
    assert found.names == tuple(LABELS.values()) and found.facts["Units"] == "Bq/mL"
    assert found.starts.tolist() == EDGES[:-1].tolist() and found.ends.tolist() == EDGES[1:].tolist()
    assert found.of("Left-Putamen") == pytest.approx(frame_means(EDGES, 0.0004), rel=1e-6)
    assert found.facts["RegionVoxels"] == dict.fromkeys(LABELS.values(), 96)
    for model, how in (("srtm", {}), ("mrtm2", {}), ("logan", {"t_star": 900, "k2prime": 0.06})):
        kinetics(
            folder / "curves.tsv", folder / "bp.tsv", reference="Left-Cerebellum-Cortex", model=model, **how
        )
        header, row = (line.split("\t") for line in (folder / "bp.tsv").read_text().splitlines())
        values = dict(zip(header, row, strict=True))
        assert values["name"] == "Left-Putamen" and float(values["BPND"]) == pytest.approx(1.5, rel=0.03)
        assert float(values["k2prime"]) == pytest.approx(0.06, rel=0.03)
    assert json.loads((folder / "bp.json").read_text())["TStar"] == 900


@pytest.mark.parametrize(
    "how, said",
    [
        ({"reference": "Pons"}, "no region 'Pons'"),
        ({"model": "frtm"}, "one of srtm, mrtm2, logan"),
        ({"model": "logan"}, "--t-star in s"),
        ({"model": "mrtm2", "k2prime": -1.0}, "a rate above 0"),
        ({"model": "mrtm2", "t_star": 2000}, "2 frames start at 2000 s"),
        ({"k2prime": 0.1}, "leave --k2prime"),
    ],
)
def test_what_kinetics_refuses(folder, how, said):
    tacs(folder / "pet.nii.gz", folder / "curves.tsv", labels=folder / "aseg.nii.gz")
    with pytest.raises(InputError, match=said):
        kinetics(folder / "curves.tsv", folder / "bp.tsv", **{"reference": "Left-Putamen", **how})
    assert not (folder / "bp.tsv").exists()


def test_a_late_scan_has_no_bp(folder):
    sidecar = json.loads((folder / "pet.json").read_text())
    write_json(folder / "pet.json", sidecar | {"InjectionStart": -600})
    tacs(folder / "pet.nii.gz", folder / "curves.tsv", labels=folder / "aseg.nii.gz")
    with pytest.raises(InputError, match="600 s after the injection"):
        kinetics(folder / "curves.tsv", folder / "bp.tsv", reference="Left-Putamen")


def test_what_tacs_refuses(folder):
    with pytest.raises(InputError, match="no regions; give --labels"):
        tacs(folder / "pet.nii.gz", folder / "curves.tsv")
    with pytest.raises(InputError, match=r"with \.tsv"):
        tacs(folder / "pet.nii.gz", folder / "curves.csv", labels=folder / "aseg.nii.gz")
    (folder / "pet.json").unlink()
    with pytest.raises(InputError, match="FrameTimesStart and FrameDuration"):
        tacs(folder / "pet.nii.gz", folder / "curves.tsv", labels=folder / "aseg.nii.gz")


def test_a_table_names_labels_and_one_name_is_one_region(folder):
    (folder / "aseg.tsv").write_text("index\tname\n8\tall\n12\tall\n")
    labels, names = read_labels(folder / "aseg.nii.gz", 10)
    values, voxels = region_means(
        [np.arange(labels.array.size, dtype=float).reshape(labels.shape)], labels.array, names
    )
    assert values[0, 0] == (labels.array.size - 1) / 2 and voxels == {"all": labels.array.size}


def test_a_voxel_has_the_label_of_most_of_its_samples():
    """Of eight samples of the coarse voxel three are 5, three 7 or 0 … and the most frequent wins."""
    fine = np.zeros((2, 2, 4), np.int32)
    fine[..., :2].flat = [5, 5, 5, 7, 7, 0, 0, 5]
    fine[..., 2:] = 9
    labels = Volume(fine, centred_affine(fine.shape, 1.0), "label")
    grid = Volume(np.zeros((1, 1, 2), np.float32), centred_affine((1, 1, 2), 2.0), "Bq/mL")
    assert majority(labels, grid).ravel().tolist() == [5, 9]
    shifted = np.eye(4)
    shifted[2, 3] = 2.0
    assert majority(labels, grid, shifted).ravel().tolist() == [9, 0]


def test_regions_are_written_and_frames_left_out(folder):
    """Curves of written regions are the same; a wrong frame has no effect once it is left out."""
    regions = folder / "regions_dseg.nii.gz"
    tacs(folder / "pet.nii.gz", folder / "a.tsv", labels=folder / "aseg.nii.gz", regions=regions)
    tacs(folder / "pet.nii.gz", folder / "b.tsv", labels=regions)
    assert (folder / "a.tsv").read_text() == (folder / "b.tsv").read_text()
    rows = (folder / "a.tsv").read_text().splitlines()
    rows[5] = "\t".join([*rows[5].split("\t")[:2], "1", "9e9"])
    (folder / "b.tsv").write_text("\n".join(rows) + "\n")
    kinetics(folder / "b.tsv", folder / "bp.tsv", reference="Left-Cerebellum-Cortex", exclude_frames=[5])
    row = (folder / "bp.tsv").read_text().splitlines()[1].split("\t")
    assert float(row[1]) == pytest.approx(1.5, rel=0.03)
    assert json.loads((folder / "bp.json").read_text())["ExcludedFrames"] == [5]
    with pytest.raises(InputError, match="there is no frame 11"):
        kinetics(folder / "b.tsv", folder / "bp.tsv", reference="Left-Putamen", exclude_frames=[11])


def test_a_table_of_labels_is_inherited_in_a_dataset(folder):
    image = folder / "sub-01" / "anat" / "sub-01_desc-mine_dseg.nii.gz"
    image.parent.mkdir(parents=True)
    (folder / "aseg.nii.gz").rename(image)
    (folder / "desc-other_dseg.tsv").write_text("index\tname\n8\twrong\n")
    (folder / "desc-mine_dseg.tsv").write_text("index\tname\n8\tcerebellum\n12\tputamen\n")
    assert read_labels(image, 10)[1] == {8: "cerebellum", 12: "putamen"}


def test_only_regions_of_a_virtual_head_are_written(folder):
    """CSF, bone and scalp have labels and are no regions."""
    image = folder / "aseg.nii.gz"
    labels = Volume.load(image, "label")
    labels.like(np.where(labels.array == 8, 19, 17).astype(np.int16)).save(image)
    tacs(folder / "pet.nii.gz", folder / "a.tsv", labels=image, regions=folder / "r.nii.gz", virtual=True)
    assert read_tacs(folder / "a.tsv").names == ("cerebellar cortex",)
    assert set(np.unique(Volume.load(folder / "r.nii.gz", "label").array)) == {0, 17}

"""A Siemens scan as a user's subject: the pair .dcm and .bf, the norm's pair, the μ-map of DICOM."""

import re
import subprocess

import numpy as np
import pytest

from csrd.cohort import read_bids, read_sheet
from csrd.config import load
from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.listmode import mmr_bins, open_listmode, write_petlink
from csrd.seeds import generator
from csrd.stages.import_ import import_corrections, import_listmode
from tests.conftest import REPOSITORY, SNAKEMAKE
from tests.siemens_files import SOFTWARE, norm_pair, pair_of, perfect_norm


@pytest.fixture
def pair(study):
    """Return the .dcm of a scan beside the study's images, and write the norm's."""
    draw = generator(1, "pair")
    lines = [mmr_bins.crystals_of(address) for address in draw.integers(mmr_bins.ADDRESSES, size=400)]
    crystals = np.array([sorted(x) for x in lines if x[0] >= 0 and mmr_bins.coincide(*x)], np.uint32)
    times = np.sort(draw.integers(40, size=len(crystals))).astype(np.uint32)
    header = {
        "image duration (sec)": 0.05,
        "isotope gamma halflife (sec)": 6586.2,
        "isotope branching factor": 0.97,
        "start horizontal bed position (mm)": 12,
    }
    write_petlink(study / "scan.l", [(crystals, np.ones(len(crystals), bool), times)], header)
    norm_pair(perfect_norm().values, study / "norm.dcm", 2e7)
    return pair_of(study / "scan.l", study / "scan.dcm")


def test_a_sheet_names_either_half(study, pair, write_sheet):
    rows = {"listmode": "scan.dcm", "normalisation": "norm.dcm", "tracer": "FDG"}
    sheet = write_sheet(
        rows | {"participant_id": "sub-1"},
        rows | {"participant_id": "sub-2", "split": "test", "listmode": "scan.bf"},
    )
    first, second = read_sheet(sheet, load({"cohort": {"sheet": str(sheet)}}))
    assert (first.header.name, second.header.name) == ("scan.bf", "scan.dcm")
    assert first.suffix == second.suffix == "l" and first.normalisation_suffix == "n"


def test_the_workflow_plans_scans_with_their_own_norm(study, pair, write_sheet):
    """Scatter, sensitivities and images of every dose take it."""
    rows = {"normalisation": "norm.dcm", "tracer": "FDG"}
    people = [
        rows | {"participant_id": f"sub-{split}", "split": split, "listmode": f"{split}.dcm"}
        for split in ("train", "validation", "test")
    ]
    for row in people:
        pair_of(study / "scan.l", study / row["listmode"])
    sheet = write_sheet(*people)
    for name in ("workflow", "config"):
        (study / name).symlink_to(REPOSITORY / name)
    settings = f"cohort={{sheet: {sheet}}}", "methods=[lowdose, tv]", "recon={frames: [0.01, 0.02]}"
    command = [SNAKEMAKE, "--cores", "1", "-n", "--configfile", "config/openneuro.yaml", "--config"]
    done = subprocess.run([*command, *settings], cwd=study, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, flags=re.MULTILINE))
    expected = {"import_norm": 3, "estimate_scatter": 3, "reconstruct": 15, "reconstruct_frames": 15}
    assert {rule: int(jobs[rule]) for rule in expected} == expected


def test_a_sheet_with_half_a_pair_is_refused(study, pair, write_sheet):
    pair.unlink()
    rows = {"listmode": "scan.bf", "header": "a.l64.hdr"}, {"split": "test", "participant_id": "sub-2"}
    sheet = write_sheet(*rows)
    with pytest.raises(InputError, match="scan.dcm does not exist; put both halves") as error:
        read_sheet(sheet, load({"cohort": {"sheet": str(sheet)}}))
    assert "header is a.l64.hdr, but scan.dcm holds it" in str(error.value)


def test_a_dataset_has_the_pair_and_the_norm(study, pair):
    root = study / "ds"
    scan = root / "sourcedata" / "sub-02" / "pet"
    (root / "sub-02" / "anat").mkdir(parents=True)
    (root / "dataset_description.json").write_text("{}")
    (root / "participants.tsv").write_text("participant_id\tsplit\nsub-02\ttest\n")
    (study / "t1w.nii.gz").rename(root / "sub-02" / "anat" / "sub-02_T1w.nii.gz")
    pair_of(study / "scan.l", scan / "sub-02_run-001_listmode.dcm")
    norm_pair(perfect_norm().values, scan / "sub-02_run-001_norm.dcm", 2e7)
    (study / "mumap.nii.gz").rename(scan / "sub-02_mumap.nii.gz")
    config = load({"cohort": {"bids": str(root), "models": "packaged"}, "methods": ["lowdose"]})
    (subject,) = read_bids(root, config)
    assert subject.listmode == scan / "sub-02_run-001_listmode.dcm"
    assert subject.header == scan / "sub-02_run-001_listmode.bf"
    assert subject.normalisation == scan / "sub-02_run-001_norm.dcm"


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("software", SOFTWARE)
def test_a_pair_is_imported_as_words_with_their_header(study, pair, tmp_path, software, inside):
    pair_of(study / "scan.l", pair, software, inside)
    target = tmp_path / "raw" / "sub-1_listmode.l"
    import_listmode(pair, target, None if inside else pair.with_suffix(".bf"))
    assert target.is_symlink() != inside and target.read_bytes() == (study / "scan.l").read_bytes()
    assert open_listmode(target).info()["prompts"] == open_listmode(pair).info()["prompts"]


def test_corrections_of_a_pair(study, pair, tmp_path):
    import_listmode(pair, tmp_path / "scan.l")
    mumap = Volume.load(study / "mumap.nii.gz")
    mumap.like(mumap.array * 1e4, "").save(study / "umap.nii.gz")
    (study / "umap.json").write_text('{"ConversionSoftware": "dcm2niix"}')
    import_corrections(
        study / "umap.nii.gz",
        normalisation=study / "norm.dcm",
        listmode=tmp_path / "scan.l",
        mumap_out=tmp_path / "mu.nii.gz",
        normalisation_out=tmp_path / "norm.n",
    )
    found = Volume.load(tmp_path / "mu.nii.gz")
    assert found.array.max() == pytest.approx(0.096) and found.affine[2, 3] == mumap.affine[2, 3] - 12
    assert (tmp_path / "norm.n").read_bytes() == (study / "norm.bf").read_bytes()
    with pytest.raises(InputError, match="is of the Siemens Biograph mMR, but the scan of the HRRT"):
        import_corrections(
            study / "mumap.nii.gz",
            normalisation=study / "norm.dcm",
            mumap_out=tmp_path / "mu.nii.gz",
            normalisation_out=tmp_path / "norm.n",
        )

"""A miniature of a dataset of the Biograph mMR on OpenNeuro: three heads, scanned by the virtual mMR.

The files have the real names and forms: pairs .dcm and .bf, μ-maps in the patient's coordinates and 1/cm ×
10,000, sidecars of dcm2niix, and the vendor's image, which here is the truth at its resolution.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.io.volume import Volume
from csrd.scanner.geometry import mmr
from csrd.scanner.mmr_norm import Norm
from csrd.stages.simulate import simulate_anatomy, write_scan
from csrd.virtual.acquire import Acquisition
from tests.siemens_files import norm_pair, pair_of, perfect_norm, recorded, varied

FDG = "config/tracers/FDG.tsv"
BED_MM = -36.0
SECONDS = {"sub-02": 10, "sub-05": 10, "sub-06": 40}
VENDOR_SIGMA_MM = 2.1  # 5 mm FWHM


@dataclass(frozen=True)
class Miniature:
    """The dataset's folder, and the true activity of each subject in scanner coordinates."""

    folder: Path
    truth: dict[str, Volume]
    labels: dict[str, Volume]


def miniature(folder: Path, scratch: Path, labels: Sequence[str] = ("02", "05", "06")) -> Miniature:
    """Write the dataset; return where, and the truth."""
    write(folder / "dataset_description.json", {"DatasetDOI": "doi:10.18112/openneuro.ds003382.v1.5.0"})
    rows = "\n".join(["participant_id\tbody_weight\tdose", *(f"sub-{label}\t70\t100" for label in labels)])
    (folder / "participants.tsv").write_text(rows + "\n")
    norm = varied(perfect_norm())
    found = Miniature(folder, {}, {})
    for label in labels:
        subject(found, norm, f"sub-{label}", scratch / label)
    return found


def subject(found: Miniature, norm: Norm, name: str, scratch: Path) -> None:
    """Write one subject's files."""
    raw, own = found.folder / "sourcedata" / name / "pet", found.folder / name
    facts = {"tracer": "FDG", "weight_kg": 70.0, "injected_MBq": 100.0}
    outs = {key: scratch / f"{key}.nii.gz" for key in ("mr", "mumap", "activity", "labels", "brainmask")}
    scratch.mkdir(parents=True)
    how = {"start_s": 2700, "voxel_mm": 2.4375, "seed": 7, "subject": name}
    others = {"facts_out": scratch / "facts.json", "mr_to_pet": scratch / "mr.json"}
    simulate_anatomy(FDG, facts, **outs, **others, **how)
    activity, mumap = Volume.load(outs["activity"]), Volume.load(outs["mumap"])
    perfect, plain = np.ones(mmr().crystals, np.float32), scratch / "plain.l"
    header = {"start horizontal bed position (mm)": f"{BED_MM:g}"}
    scan = Acquisition(SECONDS[name], half_life_s=6586.2, branching=0.97, randoms_fraction=0.2)
    write_scan(plain, activity, mumap, perfect, mmr(), scan, 7, name, 1, header=header)
    recorded(plain, norm, scratch / "scan.l")
    software = "syngo MR E11" if name.endswith("5") else "syngo MR B20P"
    pair_of(scratch / "scan.l", raw / f"{name}_run-001_listmode.dcm", software)
    norm_pair(norm.values, raw / f"{name}_run-001_norm.dcm", norm.quantification, software)
    write(raw / f"{name}_run-001_listmode.json", {"TracerName": "FDG"})
    for image, stem, sidecar in (
        (Volume.load(outs["mr"], unit="arbitrary"), f"anat/{name}_run-001_T1w", {}),
        (
            of_patient(mumap.like((mumap.array * 1e4).astype(np.float32), "")),
            f"ute/{name}_run-001_ute-umap",
            {"ImageType": ["DERIVED", "PRIMARY", "UMAP3D"], "ConversionSoftware": "dcm2niix"},
        ),
        (
            of_patient(activity.like(blurred(activity))),
            f"pet/{name}_task-checkerboard_trc-FDG_rec-acstat_run-001_pet",
            {"Units": "Bq/ml"},
        ),
    ):
        write(own / f"{stem}.json", sidecar)
        image.save(own / f"{stem}.nii.gz")
    found.truth[name], found.labels[name] = activity, Volume.load(outs["labels"], unit="label")


def blurred(activity: Volume) -> np.ndarray:
    """Return the activity at the resolution of the vendor's image."""
    return gaussian_filter(activity.array, VENDOR_SIGMA_MM / activity.voxel_mm)


def of_patient(volume: Volume) -> Volume:
    """Return an image in scanner coordinates in those of the patient."""
    affine = volume.affine.copy()
    affine[2, 3] += BED_MM
    return Volume(volume.array, affine, volume.unit)


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))

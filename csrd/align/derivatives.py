"""The derivative dataset's bookkeeping, as BIDS asks for it: JSON sidecars and the dataset's description."""

from pathlib import Path

import csrd
from csrd.files import inherited, sidecar_path, whole_file, write_json
from csrd.volume import Volume

BIDS_VERSION = "1.10.0"


def save_derivative(volume: Volume, path: str | Path, sidecar: dict) -> None:
    """Write a volume and, beside it, its JSON sidecar."""
    volume.save(path)
    write_json(sidecar_path(path), sidecar)


def bids_uri(path: str | Path) -> str:
    """Return how a sidecar names a file: from its subject's folder on, e.g. ``bids::sub-01/pet/….nii.gz``.

    Files of other stages go by the dataset links of `write_description`, e.g. ``bids:recon:sub-01/….nii.gz``;
    a file outside any subject's folder by its name alone.
    """
    parts = Path(path).parts
    subject = next((i for i, part in enumerate(parts[:-1]) if part.startswith("sub-")), None)
    if subject is None:
        return Path(path).name
    stage = parts[subject - 1] if subject and parts[subject - 1] in ("raw", "recon") else ""
    return f"bids:{stage}:" + "/".join(parts[subject:])


def pet_sidecar(source: str | Path, unit: str, **more: object) -> dict:
    """Return the sidecar of a PET image made from `source`, on whose own sidecar it builds."""
    return {**inherited(source), "Units": unit, "SkullStripped": False, "Sources": [bids_uri(source)], **more}


def write_description(root: str | Path, name: str) -> None:
    """Write ``dataset_description.json`` and ``.bidsignore`` into `root`, ``<results>/derivatives/csrd``."""
    content = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "csrd", "Version": csrd.__version__}],
        "DatasetLinks": {"raw": "../../raw", "recon": "../../recon"},
    }
    write_json(Path(root) / "dataset_description.json", content)
    with whole_file(Path(root) / ".bidsignore") as temporary:
        temporary.write_text("*_xfm.json\n")  # BIDS has no name for transforms yet

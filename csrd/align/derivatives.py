"""The derivative dataset's bookkeeping, as BIDS asks for it: JSON sidecars and the dataset's description."""

from collections.abc import Iterable
from pathlib import Path

import csrd
from csrd.io.files import inherited, read_json, sidecar_path, whole_file, write_json
from csrd.io.volume import Volume

BIDS_VERSION = "1.10.0"
REQUIRED_OF_PET = (
    *("Manufacturer", "ManufacturersModelName", "Units", "TracerName", "TracerRadionuclide"),
    *("InjectedRadioactivity", "InjectedRadioactivityUnits", "InjectedMass", "InjectedMassUnits"),
    *("SpecificRadioactivity", "SpecificRadioactivityUnits", "ModeOfAdministration", "TimeZero", "ScanStart"),
    *("InjectionStart", "FrameTimesStart", "FrameDuration", "AcquisitionMode", "ImageDecayCorrected"),
    *("ImageDecayCorrectionTime", "ReconMethodName", "ReconMethodParameterLabels"),
    *("ReconFilterType", "AttenuationCorrection"),
)
"""What BIDS requires of every raw PET image; of a derivative it recommends them."""
README = """Derivatives of CSR-D: PET images of the normal dose (desc-reference) and of low ones
(rec-acstatDrf<factor>), as they are (desc-lowdose) and denoised (desc-<method>), and on the same grid the MR
and the head's mask.
"""


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
    said = {"SkullStripped": False, **inherited(source)}  # nothing is stripped here, but it may have been
    if unit:
        said["Units"] = unit
    return {**said, "Sources": [bids_uri(source)], **more}


def missing_keys(sidecars: Iterable[str | Path]) -> dict[str, int]:
    """Return how many of the PET sidecars lack each of the `REQUIRED_OF_PET` keys, where any does."""
    said = [read_json(path) for path in sidecars]
    lacking = {key: sum(key not in content for content in said) for key in REQUIRED_OF_PET}
    return {key: count for key, count in lacking.items() if count}


def write_description(root: str | Path, sidecars: Iterable[str | Path] = ()) -> None:
    """Write ``dataset_description.json``, ``README`` and ``.bidsignore`` into the derivatives' `root`.

    The README says which keys that BIDS requires of PET the `sidecars` lack: none of them is made up.
    """
    sidecars = list(sidecars)
    lacking = missing_keys(sidecars)
    with whole_file(Path(root) / "README") as temporary:
        temporary.write_text(README + _told(lacking, len(sidecars)))
    content = {
        "Name": "CSR-D: PET at normal and low doses, denoised",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "csrd", "Version": csrd.__version__}],
        "DatasetLinks": {"raw": "../../raw", "recon": "../../recon"},
    }
    write_json(Path(root) / "dataset_description.json", content)
    with whole_file(Path(root) / ".bidsignore") as temporary:
        temporary.write_text("*_xfm.json\n")  # BIDS has no name for transforms yet


def _told(lacking: dict[str, int], count: int) -> str:
    """Return the README's paragraph about missing keys."""
    if not lacking:
        return ""
    rows = (f"- {key}" + (f" ({n} of {count} images)" if n < count else "") for key, n in lacking.items())
    return "\nBIDS requires these of raw PET; they were not given, and nothing was put in their place:\n" + (
        "\n".join(rows) + "\n"
    )

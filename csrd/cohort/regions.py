"""Labels of regions for a dataset's dynamic scans: the packaged atlas, or another dataset's images."""

from dataclasses import dataclass
from pathlib import Path

from csrd.cohort.subject import Subject
from csrd.config import ATLAS
from csrd.config.sections import Kinetics
from csrd.errors import InputError
from csrd.io.bids import entities_of, images_in
from csrd.io.volume import Volume


@dataclass(frozen=True)
class Labels:
    """An image of labels and the MR in whose coordinates it is.

    Without labels they are those of the packaged atlas; without an MR they are in the PET's coordinates.
    """

    labels: Path | None
    mr: Path | None


def labels_of_scans(scans: dict[str, Subject], kinetics: Kinetics) -> dict[str, Labels]:
    """Return the labels for each dynamic scan, by its name.

    Raises InputError where a dynamic scan lacks them, or the T1w image that they need.
    """
    dynamic = {
        name: scan for name, scan in scans.items() if scan.pet and Volume.count_frames(scan.pet)[0] > 1
    }
    return {name: _labels(scan, kinetics) for name, scan in dynamic.items()}


def _labels(scan: Subject, kinetics: Kinetics) -> Labels:
    assert kinetics.labels is not None, "the user has named labels"
    if kinetics.labels == ATLAS:
        if scan.t1w is None:
            raise InputError(
                f"{scan.id} has no T1w image, which the packaged atlas is matched to; name a dataset with "
                "its labels, or select other scans"
            )
        return Labels(None, scan.t1w)
    image = _image(scan, kinetics.labels, kinetics.description)
    if image.parent.name == "pet" or entities_of(image).get("space", "").lower() == "pet":
        return Labels(image, None)
    beside = images_in(image.parent, "T1w", **{"desc": "preproc"} | _only_scan(image))
    mr = next((path for path in beside if "space" not in entities_of(path)), scan.t1w)
    if mr is None:
        raise InputError(f"{image} is in the coordinates of a T1w image, and there is none for {scan.id}")
    return Labels(image, mr)


def _only_scan(image: Path) -> dict[str, str]:
    return {key: label for key, label in entities_of(image).items() if key in ("sub", "ses")}


def _image(scan: Subject, folder: str, description: str | None) -> Path:
    """Return the one image of labels for a scan: of its session, else of none.

    Raises InputError where there is none, or more than one.
    """
    root = Path(folder)
    found = [
        path
        for path in images_in(root / scan.participant, "dseg")
        if entities_of(path).get("space", "T1w").lower() in ("t1w", "pet")
        and (
            description is None
            or description in (entities_of(path).get("desc"), entities_of(path).get("seg"))
        )
    ]
    own = [path for path in found if entities_of(path).get("ses") == scan.session]
    found = own or [path for path in found if "ses" not in entities_of(path)]
    if not root.is_dir() or not found:
        raise InputError(
            f"{root} has no image of labels ({scan.folder}/**/*_dseg.nii.gz) for {scan.id}; check the folder"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(
            f"{scan.id} has {len(found)} images of labels ({names}); name one by its description"
        )
    return found[0]

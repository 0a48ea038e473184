"""The PET scans of a BIDS dataset as they are, each a scan of its own, with the participant's T1w image."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from csrd.cohort.bids import at_reference, injected_activity
from csrd.cohort.subject import Subject
from csrd.config.sections import Cohort, Select
from csrd.errors import InputError
from csrd.io.bids import entities_of, images_in, inherited
from csrd.io.files import read_json
from csrd.io.tables import Row, read_tsv
from csrd.units import kilograms, megabecquerel, pet_unit

EXAMPLE = "a BIDS dataset's participants.tsv"
SHORT = {"participant": "sub", "session": "ses", "task": "task", "tracer": "trc", "run": "run",
         "reconstruction": "rec"}  # fmt: skip
"""BIDS's entities by the names in `Select`."""
OF_T1W = {"subject": "sub", "session": "ses", "acquisition": "acq", "ceagent": "ce", "reconstruction": "rec",
          "run": "run", "echo": "echo", "part": "part", "chunk": "chunk", "space": "space",
          "description": "desc"}  # fmt: skip
"""BIDS's entities of a T1w image by their long names."""
NO_ENTITIES = ("suffix", "datatype", "extension")
"""Keys of a filter file that select the images that are read anyway."""
NOT_CORRECTED, ALL = "nac", "all"
OTHER = "the filter selects none of the participant's T1w images"
WEIGHTS = ("weight_kg", "body_weight", "weight")
ACTIVITIES = ("injected_MBq", "InjectedRadioactivity", "injected_activity", "dose")


@dataclass(frozen=True)
class Scan:
    """A PET image of a dataset, its T1w image, if any, and sentences about how they were chosen."""

    pet: Path
    t1w: Path | None
    notes: tuple[str, ...]


def read_scans(root: Path, cohort: Cohort) -> tuple[Subject, ...]:
    """Return every PET scan of a BIDS dataset that `cohort.select` takes, by participant and name.

    A participant's sessions, tasks, tracers and runs are scans of their own; of several reconstructions of
    one scan, one is taken. ``participants.tsv`` is optional.
    Raises InputError where there is no such scan, or an image cannot be read, with all mistakes.
    """
    if not (root / "dataset_description.json").is_file():
        raise InputError(
            f"{root} is not a BIDS dataset: it has no dataset_description.json; give the dataset's root"
        )
    images = _images(root, cohort.select)
    table, units = _participants(root)
    found, wrong = [], []
    for pet, note in _of_each_scan(images, cohort.select):
        t1w, more = _t1w(root, pet, cohort.select)
        scan = Scan(pet, t1w, (*note, *more))
        try:
            found.append(_subject(scan, table, units, cohort.units))
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        raise InputError(f"{root} has mistakes:\n  " + "\n  ".join(wrong))
    if not any(scan.t1w for scan in found) and (
        left_out := [n for scan in found for n in scan.notes if OTHER in n]
    ):
        raise InputError(f"{root}: {left_out[0]}; correct the filter of t1w, or leave the MR out by --no-mr")
    return tuple(found)


def _images(root: Path, select: Select) -> list[Path]:
    """Return the dataset's PET images that are selected.

    Raises InputError where there is none, with what there is.
    """
    folders = sorted(path for path in root.glob("sub-*") if path.is_dir())
    everything = [path for folder in folders for path in _pets(folder)]
    if not everything:
        raise InputError(f"{root} has no PET image (sub-*/[ses-*/]pet/*_pet.nii.gz); check the path")
    left = everything
    for name, short in SHORT.items():
        wanted: tuple[str, ...] = getattr(select, name)
        if not wanted or (name == "reconstruction" and ALL in wanted):
            continue
        there = {entities_of(path).get(short, "") for path in left}
        labels = {_plain(label): label for label in (text.removeprefix(f"{short}-") for text in wanted)}
        if missing := sorted(labels[plain] for plain in labels.keys() - set(map(_plain, there))):
            named = ", ".join(sorted(there - {""})) or "none"
            raise InputError(
                f"no PET image of {root}, of those selected, has the {name} {missing[0]}; there: {named}"
            )
        left = [path for path in left if _plain(entities_of(path).get(short, "")) in labels]
    return left


def _pets(folder: Path) -> list[Path]:
    """Return a participant's PET images; of two files with one name, the compressed one."""
    found: dict[str, Path] = {}
    for path in images_in(folder, "pet", "pet"):
        if path.name.endswith((".nii", ".nii.gz")):
            found[path.name.partition(".")[0]] = path  # .nii.gz comes after .nii
    return list(found.values())


def _plain(label: str) -> str:
    """Return a label as it is compared: 001 and 1 are the same run.

    >>> _plain("001"), _plain("acstat"), _plain("0")
    ('1', 'acstat', '0')
    """
    return str(int(label)) if label.isdecimal() else label


def _of_each_scan(images: Iterable[Path], select: Select) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield one image of each scan, and a note where others, of the same scan, are left out.

    Reconstructions of one scan differ in the entity `rec` only. All of them are yielded where the user names
    reconstructions.
    """
    scans = defaultdict(list)
    for path in images:
        entities = entities_of(path)
        scans[path.parent, tuple((k, v) for k, v in entities.items() if k != "rec")].append(path)
    for paths in scans.values():
        if len(paths) == 1 or select.reconstruction:
            yield from ((path, ()) for path in paths)
            continue
        first, *others = sorted(paths, key=_preference)
        names = ", ".join(f"rec-{entities_of(path).get('rec', '(none)')}" for path in others)
        yield first, (f"{first.name} is denoised of the reconstructions of one scan, {names} are not",)


def _preference(path: Path) -> tuple[bool, bool, bool, bool, str]:
    """Return a reconstruction's rank: corrected and static first, without attenuation correction last.

    Of two alike one called static comes first, then one without a label.
    """
    label, said = entities_of(path).get("rec", "").lower(), inherited(path)
    uncorrected = NOT_CORRECTED in label or "NAC" in (said.get("ImageType") or ())
    uncorrected |= str(said.get("AttenuationCorrection") or "").lower() == "none"
    return uncorrected, _is_dynamic(path), "stat" not in label, bool(label), path.name


def _is_dynamic(path: Path) -> bool:
    """Return whether an image has frames; False for one that cannot be read, which is reported later."""
    from csrd.io.volume import Volume

    try:
        return Volume.count_frames(path)[0] > 1
    except InputError:
        return False


def _t1w(root: Path, pet: Path, select: Select) -> tuple[Path | None, tuple[str, ...]]:
    """Return the T1w image for a PET image: of its session, else of none, else of another; and a note."""
    entities = entities_of(pet)
    everything = [
        path
        for path in images_in(root / f"sub-{entities['sub']}", "T1w", "anat", sub=entities["sub"])
        if path.name.endswith((".nii", ".nii.gz"))
    ]
    if not select.mr or not everything:
        return None, ()
    there = [path for path in everything if _matches(path, select.t1w)]
    if not there:
        return None, (f"{OTHER}: {', '.join(path.name for path in everything)}",)
    session = entities.get("ses")

    def distance(path: Path) -> tuple[int, str]:
        own = entities_of(path).get("ses")
        return (0 if own == session else 1 if own is None else 2), path.name

    first, *others = sorted(there, key=distance)
    if distance(first)[0] == 2:
        return first, (f"the T1w image is of another session: {first.name}",)
    same = [path.name for path in others if distance(path)[0] == distance(first)[0]]
    return first, (f"of several T1w images {first.name} is used, not {', '.join(same)}",) if same else ()


def _matches(path: Path, wanted: dict[str, tuple[str, ...]]) -> bool:
    entities = entities_of(path)
    return all(
        _plain(entities.get(key, "")) in map(_plain, labels) for key, labels in wanted.items() if labels
    )


def _subject(scan: Scan, table: dict[str, Row], columns: dict[str, str], units: str | None) -> Subject:
    """Return a scan as a subject; only headers are read.

    Raises InputError where an image cannot be read.
    """
    from csrd.io.volume import Volume

    entities, sidecar = entities_of(scan.pet), inherited(scan.pet)
    if before := sidecar.get("Denoising"):
        raise InputError(
            f"{scan.pet} was denoised before, by {before}; give the dataset of the scans themselves"
        )
    Volume.grid_of(scan.pet, frames=True)
    if scan.t1w is not None:
        Volume.grid_of(scan.t1w)
    stated = sidecar.get("Units", units)
    row = table.get(f"sub-{entities['sub']}", {})
    weight, activity = _numbers(row, columns, sidecar)
    return Subject(
        id=scan.pet.name.partition(".")[0].removesuffix("_pet"),
        split="",
        tracer=entities.get("trc"),
        pet=scan.pet,
        t1w=scan.t1w,
        weight_kg=weight,
        injected_MBq=activity,
        unit=None if stated is None else pet_unit(str(stated))[0],
        session=entities.get("ses"),
        notes=scan.notes,
    )


def _participants(root: Path) -> tuple[dict[str, Row], dict[str, str]]:
    """Return the rows of ``participants.tsv`` by participant, and the units of columns in its sidecar."""
    path = root / "participants.tsv"
    if not path.is_file() or len(path.read_text(encoding="utf-8-sig", errors="replace").split("\n")) < 2:
        return {}, {}
    rows = [row for _, row in read_tsv(path, EXAMPLE).rows]
    named = [(row.get("participant_id", "").removeprefix("sub-"), row) for row in rows]
    described = read_json(sidecar) if (sidecar := path.with_suffix(".json")).is_file() else {}
    units = {
        column: str(said["Units"])
        for column, said in described.items()
        if isinstance(said, dict) and said.get("Units")
    }
    return {f"sub-{label}": row for label, row in named if label}, units


def _numbers(row: Row, units: dict[str, str], sidecar: dict) -> tuple[float | None, float | None]:
    """Return body weight in kg and activity in MBq at the time of the decay correction, None if not known.

    The image's sidecar has precedence, since it is of one scan. Columns are in kg and MBq, unless the sidecar
    of ``participants.tsv`` has other `units`.
    """
    weights = [kilograms(sidecar.get(key)) for key in ("BodyWeight", "PatientWeight")]
    weights += [kilograms(row.get(name), units.get(name, "kg")) for name in WEIGHTS]
    activities = [injected_activity(sidecar)]
    activities += [megabecquerel(row.get(name), units.get(name, "MBq")) for name in ACTIVITIES]
    weight, activity = (next(filter(None, found), None) for found in (weights, activities))
    return weight, at_reference(activity, sidecar)


def filters_in(path: Path) -> dict:
    """Return the selection in a filter file: JSON of entities by ``pet`` and ``t1w``, in BIDS's long names.

    Raises InputError for another content.
    """
    content, known = read_json(path), {"pet": SHORT | {"subject": "sub"}, "t1w": OF_T1W}
    names = {short: name for name, short in SHORT.items()}
    found: dict = {"t1w": {}}
    for kind, filters in content.items():
        if kind not in ("pet", "t1w") or not isinstance(filters, dict):
            raise InputError(f'{path} has {kind!r}; write {{"pet": {{…}}, "t1w": {{…}}}} with entities')
        for name, value in filters.items():
            values = value if isinstance(value, list) else [value]
            labels = tuple("" if one is None else str(one) for one in values)
            long = known[kind]
            short: str = long.get(name) or name
            if name in NO_ENTITIES:
                continue
            if short not in long.values():
                raise InputError(f"{path} has {name!r} for {kind}; there can be {', '.join(long)}")
            if kind == "t1w":
                found["t1w"][short] = labels
            else:
                found[names[short]] = labels
    return found

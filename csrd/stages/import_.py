"""Import of a user's subject: each file is opened and validated before anything is computed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from csrd.config.sections import MmrNorm
from csrd.errors import InputError, naming
from csrd.io.bids import inherited, save_with_sidecar
from csrd.io.files import checksums, header_path, whole_file, write_json
from csrd.io.mumap import read_mumap, refuse_other_than_head
from csrd.io.normalisation import copy_norm, is_norm, read_efficiencies, read_norm, write_efficiencies
from csrd.io.raw_names import is_raw
from csrd.io.volume import Volume
from csrd.listmode import InterfileHeader, ListMode, SiemensListMode, open_listmode
from csrd.listmode.words import CHUNK_WORDS
from csrd.scanner.geometry import Scanner, mmr
from csrd.scanner.mmr_norm import VALUES, Norm, normalised
from csrd.scanner.petsird import scanner_in
from csrd.units import agreed_unit, pet_unit

SUM_TOLERANCE = 2.0  # noise changes a low dose's sum by a few percent, a forgotten dose factor by 4 or more
SINGLES = "total uncorrected singles rate"  # of the whole mMR, per s
SINGLES_LIMIT = 1e9


def import_listmode(listmode: str | Path, listmode_out: str | Path, header: str | Path | None = None) -> None:
    """Make `listmode_out` a link to the list-mode file, and copy its header beside it, where it has one.

    A Siemens pair .dcm and .bf becomes a .l and its .l.hdr; `header` is then the other half.
    Raises InputError where they are not list-mode data.
    """
    target = Path(listmode_out)
    if is_raw(Path(listmode)):
        _import_pair(Path(listmode), target)
    else:
        if header:
            content = InterfileHeader.read(header).encode()
            with whole_file(header_path(target)) as temporary:
                temporary.write_bytes(content)
        _link(Path(listmode), target)
    open_listmode(target)


def _import_pair(listmode: Path, target: Path) -> None:
    """Write a Siemens pair as a .l, a link where the data are in the .bf, and its header."""
    pair = open_listmode(listmode)
    assert isinstance(pair, SiemensListMode)
    if pair.path == pair.raw.path:
        with whole_file(target) as temporary, open(temporary, "wb") as stream:
            for words in pair.words(CHUNK_WORDS):
                stream.write(words.data)
    else:
        _link(pair.path, target)
    with whole_file(header_path(target)) as temporary:
        temporary.write_bytes(pair.header.replace({"name of data file": target.name}).encode())


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source.absolute())


def import_corrections(
    mumap: str | Path,
    *,
    mumap_out: str | Path,
    normalisation_out: str | Path,
    normalisation: str | Path | None = None,
    listmode: str | Path | None = None,
) -> None:
    """Write the μ-map in 1/cm, in scanner coordinates, and the crystal efficiencies of a scan.

    `listmode` is the scan where its scanner is not the HRRT. Without a `normalisation` the efficiencies are
    the scan's own, or all 1. The mMR's own normalisation is written as .n with its header beside it.
    Raises InputError for values that cannot be attenuation at 511 keV in 1/cm, and where the efficiencies
    are not one number of at least 0 for each crystal.
    """
    header = open_listmode(listmode).header if listmode else None
    volume = read_mumap(mumap, header)
    refuse_other_than_head(volume, mumap)
    _save(volume, mumap_out)
    if normalisation and is_norm(normalisation):
        normalised_scanner(scanner_in(listmode), normalisation)
        copy_norm(normalisation, Path(normalisation_out), VALUES)
    else:
        write_efficiencies(efficiencies_of(normalisation, scanner_in(listmode)), normalisation_out)


def efficiencies_of(normalisation: str | Path | None, scanner: Scanner) -> np.ndarray:
    """Return crystal efficiencies (C,) float32 from a file; without one the scanner's own, or all 1.

    Raises InputError where the file does not suit the scanner.
    """
    if not normalisation or is_norm(normalisation):
        return scanner.own_efficiencies
    return read_efficiencies(normalisation, scanner.crystals, scanner.name)


def normalised_scanner(
    scanner: Scanner,
    normalisation: str | Path | None,
    settings: MmrNorm | None = None,
    listmode: ListMode | None = None,
) -> tuple[Scanner, dict]:
    """Return the scanner with the mMR's own normalisation, and notes for the sidecar; without one as it is.

    Dead time is corrected for where the header of the `listmode` has the scanner's rate of singles.
    Raises InputError where the files are no such normalisation, or are of another scanner.
    """
    if normalisation is None or not is_norm(normalisation):
        return scanner, {}
    if scanner.name != mmr().name:
        raise InputError(f"{normalisation} is of the {mmr().name}, but the scan of the {scanner.name}")
    norm = Norm.of(*read_norm(normalisation, VALUES))
    with naming(normalisation):
        return normalised(scanner, norm, settings or MmrNorm(), _singles_per_s(listmode))


def _singles_per_s(listmode: ListMode | None) -> float | None:
    """Return the scanner's rate of singles in a header, None without one."""
    text = "" if listmode is None else listmode.header.get(SINGLES, "")
    try:
        rate = float(text)
    except ValueError:
        return None
    return rate if 0 < rate < SINGLES_LIMIT else None


def import_t1w(
    t1w: str | Path, facts: Mapping[str, object], *, t1w_out: str | Path, facts_out: str | Path
) -> None:
    """Write the T1w image, and `facts` (tracer, weight, injected activity) of its subject as JSON.

    Raises InputError where the image is not finite and 3D, or is constant.
    """
    volume = Volume.load(t1w, unit="arbitrary")
    if np.ptp(volume.array) == 0:
        raise InputError(f"{t1w} is {volume.array.flat[0]:g} everywhere; give the T1w image of the head")
    _save(volume, t1w_out)
    write_json(facts_out, {**facts, "activity_MBq": facts["injected_MBq"]})


def import_images(
    lows: Sequence[str | Path],
    images: Sequence[str | Path],
    *,
    drfs: Sequence[int],
    unit: str | None,
    normal: str | Path | None = None,
) -> None:
    """Write PET images in Bq/mL or SUV: the normal dose, where there is one, and low ones of `drfs`.

    `images` are the files that are written, in this order. Sidecars keep the keys of the input's; `unit` is
    that of images whose sidecar does not name one. Voxels below zero stay.
    Raises InputError for an image without uptake, in an unknown unit, or of a low dose that is not scaled to
    the normal one.
    """
    sources = [normal, *lows] if normal else list(lows)
    volumes = [_pet(path, unit) for path in sources]
    for path, volume in zip(sources[1:], volumes[1:], strict=True) if normal else ():
        ratio = float(volume.array.sum(dtype=float) / volumes[0].array.sum(dtype=float))
        if not 1 / SUM_TOLERANCE < ratio < SUM_TOLERANCE:
            raise InputError(
                f"{path} sums to {ratio:.2g} of {normal}; scale low doses to the normal one, "
                "by their dose reduction factor once"
            )
    doses = [1, *drfs] if normal else drfs
    for path, volume, drf, image in zip(sources, volumes, doses, images, strict=True):
        unit_key = {"Units": volume.unit} if volume.unit else {}
        known = {**inherited(path), **unit_key, **volume.sidecar_notes}
        save_with_sidecar(volume, image, {**known, "DoseReductionFactor": drf})


def _save(volume: Volume, path: str | Path) -> None:
    """Write an image, and beside it the assumptions about its source, if any."""
    if volume.notes:
        save_with_sidecar(volume, path, volume.sidecar_notes)
    else:
        volume.save(path)


def hash_inputs(files: Iterable[str | Path], record: str | Path) -> None:
    """Write size and SHA-256 of a subject's files."""
    write_json(record, checksums(files))


def _pet(path: str | Path, unit: str | None) -> Volume:
    """Return a PET image in Bq/mL or SUV, or as it is where its unit is not known."""
    volume = Volume.load(path)
    with naming(path):
        named = agreed_unit({"header": volume.unit, "sidecar": inherited(path).get("Units")}) or unit
    if not volume.array.sum(dtype=float) > 0:
        raise InputError(f"{path} has no uptake: its voxels sum to zero or less; give the PET image there")
    if named is None:
        return volume
    known, factor = pet_unit(str(named))
    return volume.like(volume.array * np.float32(factor), known)

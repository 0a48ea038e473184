"""PETSIRD, the raw data standard of the Emission Tomography Standardization Initiative: reading, thinning.

A file is a preamble (``yardl``, the version of the encoding, the schema), a header with the scanner's
geometry and efficiencies and the exam, and time blocks: of events, of signals, of movements, of dead time,
of singles. The package ``petsird`` reads the header, after its structure was checked (`yardl`); `blocks`
reads the time blocks; docs/formats.md describes every byte. Thinning copies bytes: only prompts and delayeds
change.
"""

import io
import json
import re
import struct
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import petsird

from csrd.errors import InputError
from csrd.io.files import whole_file
from csrd.listmode.base import EVENTS_AT_A_TIME, ListMode, Survey, TimingKeys
from csrd.listmode.draw import Keep
from csrd.listmode.events import DELAYED, OTHER_TAG, PROMPT, TIME_TAG, EventBlock, no_counts
from csrd.listmode.formats import PETSIRD_MAGIC as MAGIC
from csrd.listmode.petsird.blocks import (
    BED_BLOCK,
    EVENT_BLOCK,
    GANTRY_BLOCK,
    SCHEMA,
    Block,
    Places,
    copy_bytes,
    decoded_bins,
    encoded_varint,
    header_places,
    module_pair_tables,
    read_block,
    write_kept,
)
from csrd.listmode.petsird.events import UINT32_MAX, count_kept
from csrd.listmode.petsird.grid import Grid
from csrd.listmode.petsird.yardl import CutShort, Impossible, Window
from csrd.listmode.words import opened, whole_bytes
from csrd.nuclides import NUCLIDES, nuclide_named

ENCODING = 1
MAX_SCHEMA_BYTES = 1 << 20
NAMED_TYPES = 4  # most names in the message about two schemas
MAX_HEADER_BYTES = 1 << 28
# Exceptions of the package for a header of valid structure with invalid values
UNREADABLE: tuple[type[Exception], ...] = (
    ValueError,
    RuntimeError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
)
UNREADABLE += (AttributeError, struct.error)
NOTES = re.compile(r"\s*\[CSR-D: ([^\]]*)\]")
IDENTITY = np.eye(3, 4)


@dataclass(frozen=True)
class PetsirdListMode(ListMode):
    """A PETSIRD file; `record` is its header as the package reads it, without the module pairs' efficiencies.

    These can be millions of numbers, which the package would read in minutes.
    """

    record: petsird.Header
    places: Places

    format = "PETSIRD"
    timing_keys = TimingKeys(
        duration_s=None,
        half_life_s="half-life (s)",
        branching="branching fraction",
        dead_time="dead time correction factor",
    )
    notable = (
        "modality",
        "radiopharmaceutical",
        "radionuclide",
        "half-life (s)",
        "types of modules",
        "crystals",
        "method of the efficiencies",
        "dose reduction factor",
        "thinning seed",
    )
    remedy = "name a radionuclide of PET in its exam by the package petsird (docs/formats.md shows how)"

    @classmethod
    def open(cls, path: Path) -> "PetsirdListMode":
        """Return the PETSIRD file at a path.

        Raises InputError for another schema, or a header that is damaged, ends early or has no scanner.
        """
        size = whole_bytes(path)
        with opened(path) as stream:
            window = Window(stream, size)
            try:
                _check_preamble(path, window)
                places = header_places(window)
                if places.body > MAX_HEADER_BYTES:
                    raise InputError(
                        f"{path} has a header of {places.body} bytes, more than {MAX_HEADER_BYTES}; "
                        "check that it is whole, or leave efficiencies of module pairs out"
                    )
                window.seek(0)
                content = window.read(places.body)
                content = content[: places.pairs.start] + b"\x00" + content[places.pairs.stop :]
            except (CutShort, Impossible) as error:
                raise _damaged(path, window, error) from None
        record = _read_header(path, content)
        return cls(path, _facts(record), record, places)

    @property
    def scanner(self) -> str:
        """Return the name of the scanner's model."""
        return self.record.scanner.model_name or "unknown"

    @property
    def bytes(self) -> int:
        """Return the size of the file."""
        return whole_bytes(self.path)

    @classmethod
    def files_at(cls, path: Path) -> tuple[Path, ...]:
        """Return the file itself."""
        return (path,)

    @cached_property
    def grid(self) -> Grid:
        """Return the crystals as heads of rows and columns.

        Raises InputError where the scanner has another shape.
        """
        with self._window() as window:
            window.seek(self.places.pairs.start)
            return Grid.of(self.record.scanner, self.path, module_pair_tables(window))

    @cached_property
    def bins(self) -> tuple[int, ...]:
        """Return the number of detection bins of each type of module."""
        return detection_bins(self.record.scanner)

    def survey(self) -> Survey:
        """Return the number of prompts and delayeds, and the time that the event blocks cover.

        Event blocks count as time tags, the others as other tags. Of a truncated file all complete blocks
        are used.
        """
        seen = _Seen(self.path)
        with self._window() as window:
            for block in self._blocks(window):
                seen.add(block)
            return seen.survey(window.left)

    def intervals(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the starts and lengths of the event blocks, without the time that a former one covers."""
        end_ms = 0
        with self._window() as window:
            for block in self._blocks(window):
                if block.kind == EVENT_BLOCK:
                    length = max(0, block.stop_ms - max(block.start_ms, end_ms))
                    end_ms = max(end_ms, block.stop_ms)
                    yield np.array([block.start_ms], np.int64), np.array([length], float)

    def blocks(self, events: int = EVENTS_AT_A_TIME) -> Generator[EventBlock, None, Survey]:
        """Yield the prompts and delayeds, at most `events` at a time, each block its own arrays.

        An event's time is its time block's start. Lines within a head and between heads that are not in
        coincidence are left out. Return the survey of the file. Raises InputError for a scanner that is not
        a grid, and where bed or gantry moved.
        """
        grid, bed, seen = self.grid, None, _Seen(self.path)
        with self._window() as window:
            for block in self._blocks(window):
                seen.add(block)
                if block.kind in (BED_BLOCK, GANTRY_BLOCK):
                    bed = self._check_movement(window, block, bed)
                for part in block.lists:
                    for bins in decoded_bins(window, part, events):
                        crystals = grid.crystal_of_bin[bins]
                        crystals = np.sort(crystals[grid.coincide(crystals)], axis=1).astype(np.uint32)
                        number = len(crystals)
                        if number:
                            times = np.full(number, block.start_ms, np.uint32)
                            yield EventBlock(crystals, np.full(number, part.prompt), times)
            return seen.survey(window.left)

    def write_thinned(
        self, target: Path, keep: Keep, notes: Mapping[str, object]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write a PETSIRD file with the prompts and delayeds that a thinning keeps, and all else unchanged.

        Return all counts and the kept ones. The notes go into the description of the detection efficiencies,
        a text that every header has. An event's index counts a block's prompts before its delayeds.
        """
        counts, kept = no_counts(), no_counts()
        with self._window() as window, whole_file(target) as part, open(part, "wb") as out:
            said = _described(self.record.scanner.detection_efficiencies.method_description, notes).encode()
            copy_bytes(window, 0, self.places.description.start, out)
            out.write(encoded_varint(len(said)) + said)
            copy_bytes(window, self.places.description.stop, self.places.body, out)
            for block in self._blocks(window):
                first = int(counts[PROMPT] + counts[DELAYED])
                _tally(block, counts)
                kept[[TIME_TAG, OTHER_TAG]] = counts[[TIME_TAG, OTHER_TAG]]
                out.write(b"\x01")  # blocks that follow without another number
                copied = block.begin
                for events in block.lists:
                    stay = count_kept(first, events.events, keep.key, keep.limit)
                    kept[PROMPT if events.prompt else DELAYED] += stay
                    copy_bytes(window, copied, events.head, out)
                    out.write(encoded_varint(stay))
                    write_kept(window, events, first, keep, out)
                    first, copied = first + events.events, events.end
                copy_bytes(window, copied, block.end, out)
            out.write(b"\x00")
        return counts, kept

    @contextmanager
    def _window(self) -> Iterator[Window]:
        """Yield the file's window at its first time block."""
        size = whole_bytes(self.path)
        with opened(self.path) as stream:
            window = Window(stream, size)
            window.seek(self.places.body)
            yield window

    def _blocks(self, window: Window) -> Iterator[Block]:
        """Yield the complete time blocks in order; the window may be used in between.

        At the end the window is after the end mark, or, in a truncated file, after the last complete block.
        Raises InputError where a block is damaged.
        """
        place = self.places.body
        try:
            window.seek(place)
            while number := window.varint():
                for _ in range(number):
                    block = read_block(window, self.bins)
                    place = block.end
                    yield block
                    window.seek(place)
        except CutShort:
            window.seek(place)
        except Impossible as error:
            raise _damaged(self.path, window, error) from None

    def _check_movement(self, window: Window, block: Block, bed: np.ndarray | None) -> np.ndarray | None:
        """Raise InputError where the gantry is not at its origin, or the bed has moved."""
        window.seek(block.begin + 1)
        window.skip_varints(2)
        number = window.varint() if block.kind == GANTRY_BLOCK else 1
        transforms = np.frombuffer(window.read(48 * number), "<f4").reshape(number, 3, 4)
        if block.kind == GANTRY_BLOCK:
            still = np.allclose(transforms, IDENTITY, atol=1e-3)
        else:
            still = bed is None or np.allclose(transforms[0], bed, atol=1e-3)
            bed = transforms[0]
        if not still:
            what = "gantry" if block.kind == GANTRY_BLOCK else "bed"
            raise InputError(
                f"the {what} moves in {self.path} at {block.start_ms} ms; csrd reconstructs scans at rest, "
                "so write a file for each position"
            )
        return bed


def detection_bins(scanner: petsird.ScannerInformation) -> tuple[int, ...]:
    """Return the number of detection bins of each type of module: modules, crystals, windows of energy."""
    modules = scanner.scanner_geometry.replicated_modules
    return tuple(
        len(module.transforms)
        * len(module.object.detecting_elements.transforms)
        * (len(scanner.event_energy_bin_edges[kind].edges) - 1)
        for kind, module in enumerate(modules)
    )


def _described(said: str, notes: Mapping[str, object]) -> str:
    """Return the description of the efficiencies with the notes; earlier notes are replaced."""
    listed = "; ".join(f"{key} := {value}" for key, value in notes.items())
    return f"{NOTES.sub('', said)} [CSR-D: {listed}]".lstrip()


def _check_preamble(path: Path, window: Window) -> None:
    """Raise InputError where a file is not of this encoding and schema."""
    if window.read(len(MAGIC)) != MAGIC:
        raise InputError(f"{path} is not PETSIRD, whose files begin with {MAGIC.decode()}; copy it again")
    (encoding,) = struct.unpack("<i", window.read(4))
    if encoding != ENCODING:
        raise InputError(
            f"{path} has version {encoding} of yardl's encoding, but csrd reads version {ENCODING}; "
            f"write it anew by the package petsird {version('petsird')}"
        )
    length = window.length()
    schema = window.read(length) if length <= MAX_SCHEMA_BYTES else b""
    if schema != SCHEMA.encode():
        raise InputError(
            f"{path} has the schema of another version than PETSIRD {version('petsird')}, which csrd reads"
            f"{_difference(schema)}; convert it as docs/formats.md shows (other versions of PETSIRD)"
        )


def _difference(schema: bytes) -> str:
    """Return the types in which another schema differs from the supported one, as text; "" for no schema."""
    try:
        other, own = ({kind["name"]: kind for kind in json.loads(text)["types"]} for text in (schema, SCHEMA))
        names = sorted(name for name in other.keys() | own.keys() if other.get(name) != own.get(name))
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    more = " and more" if len(names) > NAMED_TYPES else ""
    return f" (they differ in {', '.join(names[:NAMED_TYPES])}{more})" if names else ""


def _read_header(path: Path, content: bytes) -> petsird.Header:
    """Return the header in the beginning of a file."""
    try:
        reader = petsird.BinaryPETSIRDReader(io.BytesIO(content), skip_completed_check=True)
        record = reader.read_header()
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} has a damaged header ({reason}); copy it again") from None
    scanner = record.scanner
    modules = scanner.scanner_geometry.replicated_modules
    windows = [len(edges.edges) - 1 for edges in scanner.event_energy_bin_edges]
    if not modules or len(windows) < len(modules) or min(windows, default=0) < 1:
        raise InputError(
            f"{path} describes {len(modules)} types of detector modules and windows of energy for "
            f"{sum(number > 0 for number in windows)}; write at least one type, and a window for each"
        )
    if sum(detection_bins(scanner)) > UINT32_MAX:
        raise InputError(f"{path} has more detection bins than an event can name; copy it again")
    return record


def _facts(record: petsird.Header) -> dict[str, str]:
    """Return the facts of the scan in the header, as text by key."""
    scanner, exam = record.scanner, record.exam
    modules = scanner.scanner_geometry.replicated_modules
    crystals = [len(m.transforms) * len(m.object.detecting_elements.transforms) for m in modules]
    said = scanner.detection_efficiencies.method_description
    facts = {"types of modules": str(len(modules)), "crystals": str(sum(crystals))}
    if plain := NOTES.sub("", said).strip():
        facts["method of the efficiencies"] = plain
    if noted := NOTES.search(said):
        pairs = (note.partition(" := ") for note in noted[1].split("; "))
        facts |= {key: value for key, separator, value in pairs if separator}
    if exam is None:
        return facts
    if exam.modality:
        facts["modality"] = exam.modality
    if not exam.radiopharmaceuticals:
        return facts
    agent = exam.radiopharmaceuticals[0]
    if meaning := agent.radiopharmaceutical_code_sequence.code_meaning:
        facts["radiopharmaceutical"] = meaning
    code = agent.radionuclide_code_sequence
    named = next(
        (name for text in (code.code_value, code.code_meaning) if (name := nuclide_named(text))), None
    )
    if named:
        nuclide = NUCLIDES[named]
        facts |= {"radionuclide": named, "half-life (s)": f"{nuclide.half_life_s:g}"}
        facts["branching fraction"] = f"{nuclide.branching:g}"
    return facts


class _Seen:
    """Counts of the blocks read so far, and the time in ms that the event blocks cover."""

    def __init__(self, path: Path) -> None:
        self.path, self.counts = path, no_counts()
        self.covered_ms = self.stop_ms = 0
        self.overlap = False

    def add(self, block: Block) -> None:
        """Count the next block; time that two blocks cover counts once."""
        _tally(block, self.counts)
        if block.kind == EVENT_BLOCK:
            self.covered_ms += max(0, block.stop_ms - max(block.start_ms, self.stop_ms))
            self.overlap |= block.start_ms < self.stop_ms
            self.stop_ms = max(self.stop_ms, block.stop_ms)

    def survey(self, left: int) -> Survey:
        """Return the survey of all blocks; `left` is the number of bytes after the last complete one."""
        notes = []
        if self.overlap:
            notes.append(f"time blocks of {self.path} overlap: time that two blocks cover counts once")
        if left:
            notes.append(f"{self.path} ends with {left} bytes of an incomplete block: they are left out")
        return Survey(self.counts, self.covered_ms / 1000, left, notes=tuple(notes))


def _tally(block: Block, counts: np.ndarray) -> None:
    """Add a block and its events to counts (KINDS,)."""
    counts[TIME_TAG if block.kind == EVENT_BLOCK else OTHER_TAG] += 1
    for part in block.lists:
        counts[PROMPT if part.prompt else DELAYED] += part.events


def _damaged(path: Path, window: Window, error: Exception) -> InputError:
    """Return the error for a file that cannot be read further than the window's position."""
    if isinstance(error, CutShort):
        return InputError(f"{path} ends within its header; copy it again")
    return InputError(f"{path} is damaged at byte {window.place}: {error}; copy it again")

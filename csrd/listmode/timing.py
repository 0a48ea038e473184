"""Duration and decay of a scan, from its header and its data."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from csrd.errors import InputError, notice
from csrd.nuclides import NUCLIDES, nuclide_named

if TYPE_CHECKING:
    from csrd.listmode.base import ListMode, Survey

AGREE = 0.01  # relative difference up to which two values count as equal
NUCLIDE_KEYS = ("isotope name", "isotope", "radionuclide", "Dose type")


@dataclass(frozen=True)
class Timing:
    """Factors from decays at the scan's start to counts: times in s, branching ratio, live fraction.

    The data begin `start_s` after the scan. `notes` are the assumptions where header and data differ or have
    no value.
    """

    duration_s: float
    half_life_s: float
    branching: float
    live: float = 1.0
    start_s: float = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, listmode: "ListMode") -> "Timing":
        """Return the timing in a list-mode header; without a duration there the time is NaN.

        Raises InputError for a number that is missing or not positive, or a half-life that is not the
        nuclide's.
        """
        keys, header_s = listmode.timing_keys, _header_duration(listmode)
        half_life_s, branching = _positive(listmode, keys.half_life_s), _positive(listmode, keys.branching)
        notes = _check_nuclide(listmode, half_life_s, branching)
        dead_time = _positive(listmode, keys.dead_time, default="1")
        if dead_time < 1:
            raise InputError(
                f"the header of {listmode.path} has {keys.dead_time!r} := {dead_time:g}; "
                "give a factor of 1 or more"
            )
        if keys.dead_time not in listmode.header:
            notes.append(f"{listmode.path} has no dead time correction factor: 1 is used")
        duration_s = math.nan if header_s is None else header_s
        return cls(duration_s, half_life_s, branching, 1 / dead_time, listmode.begins_s, tuple(notes))

    def over(self, survey: "Survey", listmode: "ListMode") -> "Timing":
        """Return the timing of a file with this survey; each note is a warning.

        Raises InputError where the data cover no time, or where the interval of time tags is not the
        header's.
        """
        duration_s, notes = duration_of(listmode, survey)
        warned = tuple(notice(note) for note in (*notes, *self.notes))
        return replace(self, duration_s=duration_s, notes=warned)

    @property
    def effective_s(self) -> float:
        """Return the seconds at the scan's starting activity that yield as many positrons as these data."""
        decay = math.log(2) / self.half_life_s
        lived = math.exp(-decay * self.start_s) * -math.expm1(-decay * self.duration_s) / decay
        return self.branching * self.live * lived

    @property
    def decay_correction(self) -> float:
        """Return the activity at the scan's start over the mean activity during these data."""
        return self.branching * self.live * self.duration_s / self.effective_s


def duration_of(listmode: "ListMode", survey: "Survey") -> tuple[float, list[str]]:
    """Return the seconds that a file's events were measured in, and notes on assumptions.

    This is the time that its time tags or time blocks cover; the header's duration is not used.
    Raises InputError where there are none, or where the tags' own clock contradicts their interval.
    """
    path, covered_s, notes = listmode.path, survey.covered_s, list(survey.notes)
    header_s = _header_duration(listmode)
    if survey.step_ms and abs(survey.step_ms / survey.interval_ms - 1) > AGREE:
        raise InputError(
            f"the time tags of {path} are {survey.step_ms:g} ms apart by their own clock, but "
            f"{survey.interval_ms:g} ms by its header or format; correct the interval there"
        )
    if not 0 < covered_s < math.inf:
        if header_s is None:
            raise InputError(f"{path} covers no time; check that the scan was run")
        return header_s, [*notes, f"{path} has no time tags: the {header_s:g} s of its header are used"]
    if header_s is not None and abs(covered_s / header_s - 1) <= AGREE:
        return header_s, notes
    if header_s is not None:
        text = f"the header of {path} says {header_s:g} s, but its time tags cover {covered_s:g} s"
        notes.append(f"{text}: the tags are used")
    elif listmode.timing_keys.duration_s:
        notes.append(f"the header of {path} has no duration: the {covered_s:g} s of its time tags are used")
    return covered_s, notes


def _header_duration(listmode: "ListMode") -> float | None:
    """Return the duration in the header, the sum over frames where it is given by frame; None without one."""
    key = listmode.timing_keys.duration_s
    if key is None:
        return None
    if listmode.header.get(key):
        return _positive(listmode, key)
    total_s, frame = 0.0, 1
    while listmode.header.get(f"{key}[{frame}]"):
        total_s, frame = total_s + _positive(listmode, f"{key}[{frame}]"), frame + 1
    return total_s or None


def _check_nuclide(listmode: "ListMode", half_life_s: float, branching: float) -> list[str]:
    """Return a note where the branching is not the nuclide's; raise InputError for another half-life."""
    texts = (listmode.header.get(key, "") for key in NUCLIDE_KEYS)
    name = next((name for text in texts if (name := nuclide_named(text))), None)
    if name is None:
        return []
    known = NUCLIDES[name]
    if abs(half_life_s / known.half_life_s - 1) > AGREE:
        raise InputError(
            f"the header of {listmode.path} says {name} and a half-life of {half_life_s:g} s, but {name} "
            f"has {known.half_life_s:g} s; correct the one that is wrong"
        )
    if abs(branching / known.branching - 1) <= AGREE:
        return []
    return [
        f"the header of {listmode.path} says {name} and a branching of {branching:g}, not "
        f"{known.branching:g}: the header's is used"
    ]


def _positive(listmode: "ListMode", key: str, default: str = "") -> float:
    """Return the number of a key of the header."""
    text = listmode.header.get(key, default) or default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"the header of {listmode.path} has {key!r} := {text!r}; {listmode.remedy}")
    return value

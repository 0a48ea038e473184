"""The denoising methods: the package's own, one file each, and those of installed plug-ins.

A file ``csrd/methods/<key>.py`` names its class `METHOD`; another package names one in the entry-point group
`GROUP`. Configuration, workflow and report read a method's properties from its class.
"""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules

from csrd.config.methods import MethodSettings
from csrd.errors import InputError
from csrd.methods.base import CONTROLS, CONTROLS_OF_TRUTH, FitContext, Method, TrainingPair

GROUP = "csrd.methods"

__all__ = ["CONTROLS_OF_TRUTH", "FitContext", "Method", "MethodSettings", "TrainingPair"]


@cache
def own() -> dict[str, type[Method]]:
    """Return the package's own methods by key, in the order of the table's rows."""
    names = [found.name for found in iter_modules(__path__) if not found.ispkg]
    kinds = [import_module(f"{__name__}.{name}").METHOD for name in names]
    return {kind.key: _checked(kind, kind.key) for kind in sorted(kinds, key=lambda kind: kind.row)}


@cache
def methods() -> dict[str, type[Method]]:
    """Return every installed method by key, in the order of the table's rows.

    Raises InputError for a plug-in that cannot be used.
    """
    found = dict(own())
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in found:
            raise InputError(f"{_plug_in(entry)} has the key of another method; uninstall one of the two")
        found[entry.name] = _checked(_loaded(entry), entry.name, _plug_in(entry))
    return dict(sorted(found.items(), key=lambda item: item[1].row))


def keys() -> list[str]:
    """Return the keys of all installed methods, in the order of the table's rows."""
    return list(methods())


def method(key: str) -> type[Method]:
    """Return the method with this key.

    Raises InputError for an unknown key.
    """
    if key not in methods():
        raise InputError(f"there is no method {key!r}; choose from {', '.join(keys())}")
    return methods()[key]


def label_of(key: str) -> str:
    """Return a method's or a control row's name in tables and figures; its key where it is not installed."""
    return methods()[key].label if key in methods() else CONTROLS.get(key, key)


def in_row_order(found: Iterable[str]) -> list[str]:
    """Return method keys in the order of the table's rows: those not installed, then control rows, last."""
    return sorted(found, key=lambda key: (is_control(key), _row(key)))


def is_control(key: str) -> bool:
    """Return whether a key names a control row of the tables (`CONTROLS`, `Method.control`)."""
    return key in CONTROLS or (key in methods() and methods()[key].control)


def _row(key: str) -> int:
    if key in CONTROLS:
        return list(CONTROLS).index(key)
    return methods()[key].row if key in methods() else Method.row


def _loaded(entry: EntryPoint) -> type[Method]:
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{_plug_in(entry)} cannot be imported ({error}); repair or uninstall that package"
        ) from None


def _plug_in(entry: EntryPoint) -> str:
    return f"the method {entry.name} of the package {entry.dist.name if entry.dist else entry.value}"


def _checked(kind: type[Method], key: str, name: str = "a method") -> type[Method]:
    """Return a method after validating its class and key; raise InputError for an invalid one."""
    if not (isinstance(kind, type) and issubclass(kind, Method) and kind.key == key):
        raise InputError(f"{name} is not a subclass of csrd.methods.Method with that key; correct its class")
    if key in CONTROLS:
        raise InputError(f"{name} has the key {key}, which is a control row of the tables; rename it")
    if not (key.isascii() and key.isalnum()):
        raise InputError(f"{name} has the key {key!r}; BIDS file names take letters and digits only")
    return kind

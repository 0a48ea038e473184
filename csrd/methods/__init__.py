"""The denoising methods: method `key` is the class `METHOD` in ``csrd/methods/<key>.py``.

Adding one is adding that file and its block of configuration; no list names them all. Modules are imported
when asked for, so that a row of the table costs nothing while it is not used.
"""

from importlib import import_module
from pkgutil import iter_modules

from csrd.errors import InputError
from csrd.methods.base import Method, TrainingPair

NOT_METHODS = {"base", "denoise", "learned", "packaged", "scaling", "scan", "slices", "together", "train"}

__all__ = ["Method", "TrainingPair", "keys", "method"]


def keys() -> list[str]:
    """Return the keys of all methods there are, sorted."""
    return sorted(module.name for module in iter_modules(__path__) if module.name not in NOT_METHODS)


def method(key: str) -> type[Method]:
    """Return the method of this key.

    Raises InputError for an unknown one.
    """
    if key not in keys():
        raise InputError(f"there is no method {key!r}; choose among {', '.join(keys())}")
    found = import_module(f"csrd.methods.{key}").METHOD
    assert found.key == key, f"csrd/methods/{key}.py holds the method {found.key}"
    assert key.isascii() and key.isalnum(), f"{key!r} cannot stand in a BIDS file name"
    return found

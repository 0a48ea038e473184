"""CSR-D: from PET list-mode data to a denoised brain and to the paper's Table 1.

`denoise` denoises one scan, `denoise_frames` a dynamic one, `load_model` reads a model for many;
docs/api.md shows each function.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from csrd.api import denoise, denoise_frames, evaluate, load_model, reconstruct, thin
    from csrd.errors import InputError
    from csrd.io.volume import Volume
    from csrd.listmode.formats import open_listmode

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "Volume",
    "denoise",
    "denoise_frames",
    "evaluate",
    "load_model",
    "open_listmode",
    "reconstruct",
    "thin",
]

_MODULES = {"InputError": "errors", "Volume": "io.volume", "open_listmode": "listmode.formats"}


def __getattr__(name: str) -> object:
    """Return a public name, imported at its first use: the packages that it needs take seconds to import."""
    if name in __all__:
        return getattr(import_module(f"csrd.{_MODULES.get(name, 'api')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

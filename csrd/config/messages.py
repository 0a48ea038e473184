"""Error messages for a wrong key or value: one sentence with the key, its value and the remedy."""

import difflib
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ValidationError


def sentence(error: ValidationError, root: type[BaseModel]) -> str:
    """Return the first of pydantic's errors on a configuration of class `root`, as one sentence."""
    first, *others = error.errors(include_url=False)
    key = dotted(first["loc"])
    if first["type"] == "extra_forbidden":
        siblings = section_at(root, first["loc"][:-1]).model_fields
        name = str(first["loc"][-1])
        text = f"the configuration has no key {key}{closest(name, siblings, key.removesuffix(name))}"
        text += f"; the keys there are {', '.join(siblings)}"
    elif first["type"] == "missing":
        text = f"the configuration lacks {key}; add it"
    elif first["type"] == "model_type":
        keys = ", ".join(section_at(root, first["loc"]).model_fields) or "none"
        name = key or "the configuration"
        text = f"{name} is {first['input']!r}; it must be a block of keys: {keys}"
    elif first["type"] == "value_error":
        reason, block = str(first["ctx"]["error"]), isinstance(first["input"], Mapping)
        text = ": ".join(part for part in (key if block else f"{key} is {first['input']!r}", reason) if part)
    else:
        text = f"{key} is {first['input']!r}; it must {first['msg'].partition(' should ')[2]}"
    return " ".join(text.split()) + (f" (and {len(others)} more)" if others else "")


def dotted(location: tuple[str | int, ...]) -> str:
    """Return ("recon", "matrix", 0) as recon.matrix[0]."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def section_at(root: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    """Return the class of the section at `location` in a configuration of class `root`."""
    section = root
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        candidates = (annotation, *getattr(annotation, "__args__", ()))
        section = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return section


def closest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a question that names the most similar known name, or nothing."""
    similar = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix}{similar[0]}?)" if similar else ""

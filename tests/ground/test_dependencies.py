"""What is installed is what was tested: every dependency has one version, and that one is here."""

import re
from importlib.metadata import distribution, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def needed(name: str, extras: frozenset[str] = frozenset()) -> dict[str, list[Requirement]]:
    """Return all that `name` needs here, what its dependencies need too: requirements by package."""
    found: dict[str, list[Requirement]] = {}
    left, seen = [(name, extras)], set()
    while left:
        one, asked = left.pop()
        if (one, asked) in seen:
            continue
        seen.add((one, asked))
        for requirement in map(Requirement, requires(one) or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in asked or {""}):
                key = canonicalize_name(requirement.name)
                found.setdefault(key, []).append(requirement)
                left.append((key, frozenset(requirement.extras)))
    found.pop(name, None)  # an extra may name another of the same project
    return found


@pytest.fixture(scope="module")
def dependencies() -> dict[str, list[Requirement]]:
    return needed("csrd", frozenset({"dev"}))


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    """Return the version of each package in constraints.txt, which holds nothing but versions."""
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    exact = [re.fullmatch(r"([\w.-]+)==([\w.+!-]+)", line) for line in lines]
    assert all(exact), [line for line, found in zip(lines, exact, strict=True) if not found]
    return {canonicalize_name(found[1]): found[2] for found in exact}


def test_every_dependency_is_pinned_and_here(dependencies, pinned):
    assert len(dependencies) > 80
    names = dependencies.keys() - {"setuptools"}  # every environment has its own, and pip does not list it
    here = {name: Version(version(name)).public for name in names}  # without torch's +cpu
    assert here == {name: pinned.get(name) for name in names}


def test_what_is_here_suits_who_needs_it(dependencies):
    """As `pip check` has it, but for what is installed beside."""
    wrong = [
        f"{name} {version(name)} is not {requirement.specifier}"
        for name, requirements in dependencies.items()
        for requirement in requirements
        if not requirement.specifier.contains(version(name), prereleases=True)
    ]
    assert not wrong


def test_all_come_from_an_index(dependencies):
    """Nothing from an address, a repository or a folder, whose content no version tells."""
    assert not [name for name in dependencies if distribution(name).read_text("direct_url.json")]
    assert not [r for requirements in dependencies.values() for r in requirements if r.url]

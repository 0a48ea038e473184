"""Lines of the documentation are short, so that a change of a word is a change of a line."""

import re

import pytest

from tests.conftest import REPOSITORY

LONGEST = 100
PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
GENERATED = {"commands.md"}  # by typer
# tables, pictures, headings, and links that have no place to break
UNBROKEN = re.compile(r"^\s*(options:|\||!\[|#|\S+$|- \S+$|\[[^\]]*\]:)")


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in GENERATED], ids=lambda p: p.name)
def test_lines_are_short(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in text.splitlines() if len(line) > LONGEST and not UNBROKEN.match(line)]
    assert not long

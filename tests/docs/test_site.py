"""The documentation as a site: built without a warning, whole, and readable without a network."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import REPOSITORY
from tests.docs.conftest import PAGES

BIN = Path(sys.executable).parent
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""What a browser fetches by itself."""


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list) -> None:
        given = dict(attributes)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(LOADED.get(tag, "")):
            self.loaded.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Return the site, built as `make docs` does it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(REPOSITORY / "zensical.toml", folder)
    for name in ("docs", "csrd"):  # what a link leads to is not built
        unread = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=unread)
    done = subprocess.run(
        [BIN / "zensical", "build", "--strict", "--clean"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.glob("*.html")) if path.name != "404.html"}


def test_every_page_is_there(pages):
    written = {page.with_suffix(".html").name for page in PAGES if page.parent == REPOSITORY / "docs"}
    assert {path.name for path in pages} == written
    for page in pages.values():
        assert written <= {Path(link).name for link in page.links}, "every page is in the navigation"


def test_nothing_is_fetched_from_elsewhere(site, pages):
    assert [file for page in pages.values() for file in page.loaded if urlsplit(file).netloc] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.search(r"(url\(|@import\s)['\"]?(https?:)?//", styles)


def test_every_link_leads_somewhere(pages):
    for path, page in pages.items():
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name}: {link}"
            if target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.name}: {link}"


def test_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\(([^)]+)\)", (REPOSITORY / "README.md").read_text()):
        assert (REPOSITORY / link.partition("#")[0]).exists(), link


def test_docstrings_are_in_it(pages):
    """Of every kind one: a function, a class, a method, a setting."""
    names = {anchor for page in pages.values() for anchor in page.anchors}
    wanted = (
        "api.denoise",
        "io.volume.Volume",
        "io.volume.Volume.load",
        "config.sections.Recon.subsets",
    )
    assert {f"csrd.{name}" for name in wanted} <= names


def test_the_page_of_commands_is_what_csrd_says(tmp_path):
    page = tmp_path / "commands.md"
    recipe = ["make", "--silent", "-o", ".venv/installed-dev", f"BIN={BIN}", f"COMMANDS={page}", "commands"]
    subprocess.run(recipe, cwd=REPOSITORY, check=True)
    fresh, kept = page.read_text(), (REPOSITORY / "docs" / "commands.md").read_text()
    assert fresh == kept, "renew docs/commands.md: make commands"

"""A headless browser, for pages that react."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WITHOUT_GPU = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Return a headless Chromium that draws WebGL without a GPU, or skip with a warning."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if program is None or sync_playwright is None:
        missing = "playwright" if program else "Chromium (Debian's package chromium)"
        reason = f"NO BROWSER: {missing} is not installed, so the viewer was not tested"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=WITHOUT_GPU)


@pytest.fixture
def opened(browser) -> Iterator[Callable]:
    """Return a function that opens a page of a width in pixels; what its console logs is a test's failure."""
    logged: list[str] = []
    pages = []

    def open_page(path: str | os.PathLike, width: int = 480, fragment: str = ""):
        page = browser.new_page(viewport={"width": width, "height": 600})
        page.on("console", lambda message: logged.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: logged.append(f"error: {error}"))
        page.on("request", lambda request: _refuse_network(request.url, logged))
        page.goto(Path(path).resolve().as_uri() + fragment)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert logged == []


def _refuse_network(url: str, logged: list[str]) -> None:
    if not url.startswith(("file:", "data:", "blob:")):
        logged.append(f"fetched {url}")

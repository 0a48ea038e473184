"""The viewer in a headless browser: it opens, reacts to its controls and logs nothing."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from csrd.config import load
from csrd.report.report import Pictures, Results
from csrd.report.report import report as report_page
from csrd.report.scan import scan_page
from csrd.report.table import Scope
from tests.report.test_scan_page import scan

WIDTHS = (1280, 768, 380)
METHODS = ["lowdose", "tv"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Return the page of a small scan."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(scan_page(scan()))
    return path


def pixels(page) -> np.ndarray:
    """Return what the canvas shows, (rows, columns, 3)."""
    page.wait_for_timeout(300)
    shown = page.locator("#viewer-canvas").screenshot()
    return np.asarray(Image.open(BytesIO(shown)).convert("RGB")).astype(int)


def move(page, name: str, value: float) -> None:
    """Move a slider as a user does, with the events that come with it."""
    slider = page.locator(f"#{name}")
    slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value)


def started(page):
    page.click("#viewer-start")
    page.wait_for_selector("#viewer[data-state=open]", timeout=60_000)
    return page


def test_it_opens_and_every_control_changes_what_is_shown(opened, file):
    page = started(opened(file))
    last = pixels(page)
    assert last.max() > 200, "the scan is shown"
    page.click("input[value=before]")
    steps = [("window-pet", 0.5), ("opacity-mr", 0.6), ("window-mr", 1.4), ("opacity-difference", 0.8)]
    steps += [("window-difference", 0.3), ("opacity-std", 0.9), ("window-std", 1.4)]
    for name, value in steps:
        now = pixels(page)
        assert np.abs(now - last).mean() > 0.1, f"nothing changed before {name}"
        last = now
        move(page, name, value)
    assert np.abs(pixels(page) - last).mean() > 0.1
    assert page.locator("#opacity-mr + output").text_content() == "60 %"
    assert page.locator("#window-pet + output").text_content() == "to 10 kBq/mL"


def test_errors_are_blue_below_zero_and_red_above(opened, file):
    page = started(opened(file))
    grey = np.ptp(pixels(page), axis=-1).mean()
    move(page, "opacity-difference", 1)
    shown = pixels(page)
    red, blue = (shown[..., a] - shown[..., b] > 60 for a, b in ((0, 2), (2, 0)))
    assert grey < 10 and red.mean() > 0.01 and blue.mean() > 0.01


def test_the_planes_are_linked_and_the_keyboard_moves_the_cross(opened, file):
    page = started(opened(file))
    before = pixels(page)
    size = before.shape[1], before.shape[0]
    page.locator("#viewer-canvas").click(position={"x": 0.3 * size[0], "y": 0.2 * size[1]})
    place = page.locator("#viewer-place").text_content()
    after = pixels(page)
    upper, lower = np.array_split(np.abs(before - after), 2)
    assert upper.mean() > 0.1 and lower.mean() > 0.1, "the axial plane, below the clicked one, moved too"
    page.keyboard.press("l")
    assert page.locator("#viewer-place").text_content() != place


def test_the_rendering_turns(opened, file):
    page = started(opened(file))
    page.select_option("#viewer-planes", "4")
    before = pixels(page)
    canvas = page.locator("#viewer-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 40, steps=4)
    page.mouse.up()
    assert np.abs(pixels(page) - before).mean() > 0.1


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_screen(opened, file, width):
    page = opened(file, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").first.bounding_box()["width"] > 120


def test_the_viewer_alone_fills_a_frame(opened, file):
    page = opened(file, fragment="#viewer-only")
    page.wait_for_selector("#viewer[data-state=open]", timeout=60_000)
    assert not page.locator("h1").is_visible() and page.locator("#viewer-canvas").is_visible()


def test_everything_is_reached_by_the_keyboard(opened, file):
    page = opened(file)
    reached = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert {"Skip to the images", "Images", "Regions", "viewer-start", "copy"} <= reached


def test_the_report_opens_a_scans_viewer_on_a_click(opened, file):
    """Before it nothing of the scan's page is loaded."""
    report = file.with_name("report.html")
    scores = {key: 1.0 for key in ("mae", "psnr", "ssim", "h_dist", "p_dist")}
    rows = pd.DataFrame([{"subject": "sub-01", "drf": 4, "method": key, **scores} for key in METHODS])
    scope = Scope(METHODS, ["sub-01"], [4], train_drfs=[4])
    results = Results(rows, scans={"sub-01": file.name})
    settings = load({"methods": METHODS, "drfs": [4], "train_drfs": [4]})
    report.write_text(report_page(results, Pictures({}), settings, scope))
    page = opened(report, 1280)
    assert len(page.frames) == 1
    page.click("text=Open the viewer of sub-01")
    frame = page.frame_locator("iframe")
    frame.locator("#viewer[data-state=open]").wait_for(timeout=60_000)
    assert frame.locator("#viewer-canvas").is_visible() and not frame.locator("h1").is_visible()
    contents, content = (page.locator(name).bounding_box() for name in ("nav.contents", ".content"))
    assert contents["x"] + contents["width"] < content["x"], "the contents are a column beside the rest"

"""HTML pages in one file, with embedded styles and pictures."""

import math
from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from csrd.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
PNG_KB = 150  # larger PNGs are of noisy images, which take a quarter of the bytes as JPEG
JPEG_QUALITY = 88


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, optional small print below it, and whether it is bold."""

    text: str
    below: str = ""
    best: bool = False


def fragment(template: str, **values: object) -> str:
    """Return a template of ``csrd/report/templates`` filled in; plain values are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "percent": percent, "short": short}
    return environment.get_template(template).render(**values)


def page(title: str, body: str, *styles: str) -> str:
    """Return a whole page around a fragment of HTML, with the style sheets of ``templates``."""
    style = "\n".join((TEMPLATES / name).read_text() for name in styles or ("style.css",))
    return fragment("page.html", title=title, body=body, style=style)


def number(value: float) -> str:
    """Return a number with three digits, none lost before the point: 12.3, 1.23, 1234."""
    if not value:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}".replace("-", "−")


def percent(value: float) -> str:
    """Return a change in percent with its sign; a dash for NaN."""
    return "–" if math.isnan(value) else f"{100 * value:+.1f} %".replace("-", "−")


def short(value: float) -> str:
    """Return a number for a scale's end."""
    return f"{value:.3g}".replace("-", "−")


def plain_table(corner: str, heads: list[str], rows: list[tuple[str, list[Cell]]], caption: str) -> str:
    """Return a table as a fragment of HTML; a row is its name and its cells, `corner` the names' head."""
    return fragment("plain.html", corner=corner, heads=heads, rows=rows, caption=caption)


def picture(path: str | Path) -> str:
    """Return a PNG as a data URI for `img`, as JPEG where that is much smaller.

    Raises InputError where there is no such file.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make the picture again") from None
    kind = "png"
    if len(content) > PNG_KB * 1000:
        kind, content = "jpeg", _jpeg(content)
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _jpeg(png: bytes) -> bytes:
    from PIL import Image

    stream = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return stream.getvalue()

"""Pages of HTML that need no other file: styles and pictures lie inside them."""

from base64 import b64encode
from pathlib import Path

from csrd.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"


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
    return environment.get_template(template).render(**values)


def page(title: str, body: str) -> str:
    """Return a whole page around a fragment of HTML."""
    return fragment("page.html", title=title, body=body, style=(TEMPLATES / "style.css").read_text())


def picture(path: str | Path) -> str:
    """Return a PNG as the address of an `img`, with the picture inside it.

    Raises InputError where there is no such file.
    """
    try:
        return "data:image/png;base64," + b64encode(Path(path).read_bytes()).decode()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make the picture anew") from None

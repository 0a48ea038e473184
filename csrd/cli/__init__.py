"""The command `csrd`: the workflow's stages, one subject at a time.

Heavy packages are imported inside the command that needs them, so that `csrd --help` is quick.
"""

from typing import Annotated

import typer

from csrd import __version__
from csrd.cli.options import app
from csrd.errors import plain_errors

# isort: off
from csrd.cli import listmode, images, models, cohorts  # noqa: F401 - each adds its commands, in this order
# isort: on


def main() -> None:
    """Run the command line; an input error gives one line and exit status 1."""
    with plain_errors():
        app()


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass

"""BIDS names for the images of participants with several scans, which the workflow names by scan."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from csrd.io.bids import bids_uri
from csrd.io.files import whole_file, write_text


def name_derivatives(files: Sequence[str | Path], named: Sequence[str | Path]) -> None:
    """Write each file under another name, in the same order; sidecars refer to the new names.

    Images are hard links where the file system has them, so they take no space.
    """
    uris = {bids_uri(old): bids_uri(new) for old, new in zip(files, named, strict=True)}
    for old, new in zip(map(Path, files), map(Path, named), strict=True):
        if old.suffix == ".json":
            text = old.read_text()
            for uri, renamed in uris.items():
                text = text.replace(f'"{uri}"', f'"{renamed}"')
            write_text(new, text)
            continue
        with whole_file(new) as temporary:
            try:
                os.link(old, temporary)
            except OSError:
                shutil.copyfile(old, temporary)

"""Bring in a list-mode file of the user's, which stays where it is."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.cohort.intake import link_listmode

    header = snakemake.input.get("header")
    link_listmode(
        Path(snakemake.input.listmode), Path(header) if header else None, Path(snakemake.output.listmode)
    )

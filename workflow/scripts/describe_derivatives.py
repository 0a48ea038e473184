"""Describe the folder of derivatives, as BIDS requires."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.io.bids import write_description

    write_description(Path(snakemake.output.description).parent, snakemake.input.sidecars)

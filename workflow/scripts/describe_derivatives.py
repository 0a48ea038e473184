"""Describe the folder of derivatives as BIDS asks for it."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.align.derivatives import write_description

    folder = Path(snakemake.output.description).parent
    write_description(folder, snakemake.input.sidecars)

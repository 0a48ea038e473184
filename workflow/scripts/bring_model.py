"""Bring in a method that was fitted before."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.methods.train import bring

    bring(snakemake.wildcards.method, Path(snakemake.input.model).parent, Path(snakemake.output.model).parent)

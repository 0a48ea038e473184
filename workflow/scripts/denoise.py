"""Apply one method to every dose of one subject."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.methods.denoise import denoise

    given, drfs, spreads = snakemake.input, snakemake.params.drfs, snakemake.output.get("spreads")
    denoise(
        snakemake.wildcards.method,
        Path(given.model).parent,
        dict(zip(drfs, given.lows, strict=True)),
        given.mr,
        dict(zip(drfs, snakemake.output.images, strict=True)),
        dict(zip(drfs, spreads, strict=True)) if spreads else None,
    )

"""Bring in PET images of the user's that are reconstructed already."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.cohort.intake import bring_images

    given, params = snakemake.input, snakemake.params
    bring_images(
        Path(given.normal) if given.get("normal") else None,
        dict(zip(params.drfs, map(Path, given.lows), strict=True)),
        dict(zip(params.doses, map(Path, snakemake.output.images), strict=True)),
        params.unit,
    )

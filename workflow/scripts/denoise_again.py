"""Apply one method to every draw of one subject at one dose."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.methods.denoise import denoise

    given, drf = snakemake.input, int(snakemake.wildcards.drf)
    for low, image in zip(given.lows, snakemake.output.images, strict=True):
        denoise(snakemake.wildcards.method, Path(given.model).parent, {drf: low}, given.mr, {drf: image})

"""Crop one thinning's image to the grid of the normal dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.align import crop_like

    given, drf = snakemake.input, int(snakemake.wildcards.drf)
    crop_like(given.pet, given.reference, snakemake.output.pet, drf=drf)

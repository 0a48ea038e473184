"""Bring one draw's image onto the grid of the normal dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.align.align import crop_like

    crop_like(
        snakemake.input.pet,
        snakemake.input.reference,
        snakemake.output.pet,
        drf=int(snakemake.wildcards.drf),
    )

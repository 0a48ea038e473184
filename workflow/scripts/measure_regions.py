"""Measure every method's uptake by region on one subject."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.io.bids import by_method
    from csrd.stages.regions import Truth, regions

    given = snakemake.input
    regions(
        given.normal,
        given.mask,
        Truth(given.activity, given.labels, given.spots, given.matched),
        by_method(given.images),
        snakemake.output.table,
        subject=snakemake.wildcards.subject,
    )

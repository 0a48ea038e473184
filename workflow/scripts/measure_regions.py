"""Measure every method's uptake by region on one subject."""

from itertools import product

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.metrics.regions import Truth, regional

    given, params = snakemake.input, snakemake.params
    images = {method: {} for method in params.methods}
    for (method, drf), path in zip(product(params.methods, params.drfs), given.images, strict=True):
        images[method][drf] = path
    regional(
        given.normal,
        given.mask,
        Truth(given.activity, given.labels, given.spots, given.matched),
        images,
        snakemake.output.table,
        subject=snakemake.wildcards.subject,
    )

"""Show every method's image of one subject and, below, its error."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.figures import errors

    given = snakemake.input
    images = dict(zip(snakemake.params.methods, given.images, strict=True))
    drf = int(snakemake.wildcards.drf)
    errors(snakemake.output.figure, given.reference, given.mask, images, drf=drf)

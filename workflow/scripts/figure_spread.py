"""Show the size of the errors on one subject beside the spread that each method gave."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.figures import uncertainty

    given, methods = snakemake.input, snakemake.params.methods
    uncertainty(
        snakemake.output.figure,
        given.reference,
        given.mask,
        dict(zip(methods, given.images, strict=True)),
        dict(zip(methods, given.spreads, strict=True)),
        drf=int(snakemake.wildcards.drf),
    )

"""Compare one method's errors on one subject with the spread it gave."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.metrics.coverage import coverage

    given, params = snakemake.input, snakemake.params
    coverage(
        {"normal": given.normal, **({"truth": given.truth} if given.truth else {})},
        given.mask,
        dict(zip(params.drfs, given.images, strict=True)),
        dict(zip(params.drfs, given.spreads, strict=True)),
        snakemake.output.table,
        subject=snakemake.wildcards.subject,
        method=snakemake.wildcards.method,
    )

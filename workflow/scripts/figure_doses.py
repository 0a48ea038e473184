"""Draw every metric against the dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.curves import dose_quality
    from csrd.report.table import units_of

    params = snakemake.params
    dose_quality(
        snakemake.output.figure,
        snakemake.input.metrics,
        methods=params.methods,
        drfs=params.drfs,
        train_drfs=params.train_drfs,
        units=units_of(params.in_suv, params.vgg),
    )

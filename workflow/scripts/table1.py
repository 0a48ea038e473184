"""Write Table 1 and its split by dose."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.table import units_of
    from csrd.report.writers import tables

    params = snakemake.params
    tables(
        snakemake.input.metrics,
        Path(snakemake.output.tables[0]).parent,
        methods=params.methods,
        test_subjects=params.subjects,
        drfs=params.drfs,
        train_drfs=params.train_drfs,
        simulated=params.simulated,
        units=units_of(params.in_suv, params.vgg),
        protocol=params.protocol,
        target=params.target,
    )

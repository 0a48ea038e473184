"""Compare CSR-D with every other method, paired by subject."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.writers import statistics_tables

    params = snakemake.params
    statistics_tables(
        snakemake.input.metrics,
        Path(snakemake.output.table).parent,
        methods=params.methods,
        test_subjects=params.subjects,
        drfs=params.drfs,
    )

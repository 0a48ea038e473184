"""Draw how reliable the spreads are, and put it in a table."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.curves import reliability
    from csrd.report.writers import coverage_tables

    coverage, out = snakemake.input.coverage, snakemake.output
    reliability(out.figure, coverage, train_drfs=snakemake.params.train_drfs)
    coverage_tables(coverage, Path(out.table).parent)

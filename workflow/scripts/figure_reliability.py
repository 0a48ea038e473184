"""Write the table of coverage and draw the reliability of the standard deviations."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.report import coverage

    out, train_drfs = snakemake.output, snakemake.params.train_drfs
    coverage(snakemake.input.coverage, table=out.table, figure=out.figure, train_drfs=train_drfs)

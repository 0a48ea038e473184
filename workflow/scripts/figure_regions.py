"""Write the table of uptake by region and draw its agreement with the normal dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.report import regions

    out = snakemake.output
    regions(snakemake.input.regions, table=out.table, figure=out.figure)

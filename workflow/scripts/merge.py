"""Merge the tables of all subjects and methods into one."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.evaluate import merge

    merge(snakemake.input.tables, snakemake.output.table, snakemake.params.row)

"""Write the table of uptake by region and draw how well regions agree with the normal dose."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.regions import bland_altman
    from csrd.report.writers import regions_tables

    given, made = snakemake.input, snakemake.output
    regions_tables(given.regions, Path(made.table).parent)
    bland_altman(made.figure, given.regions)

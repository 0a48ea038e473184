"""Import a list-mode file of the user's, which stays where it is."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.import_ import import_listmode

    given = snakemake.input
    import_listmode(given.listmode, given.get("header"), snakemake.output.listmode)

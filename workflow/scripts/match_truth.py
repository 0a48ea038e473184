"""Bring one subject's truth onto the grid and to the resolution of its normal dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.regions import match_truth

    given = snakemake.input
    match_truth(given.activity, given.normal, given.mask, snakemake.output.truth)

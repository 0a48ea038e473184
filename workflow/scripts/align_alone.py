"""Bring the MR onto the grid of a low dose that has no normal one beside it."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.align import align_mr

    given, out = snakemake.input, snakemake.output
    align_mr(
        given.low,
        given.t1w,
        t1w_out=out.t1w,
        transform=out.transform,
        picture=out.picture,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )

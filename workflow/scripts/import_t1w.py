"""Import a T1w image of the user's, and the facts about its subject."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.import_ import import_t1w

    out = snakemake.output
    import_t1w(snakemake.input.t1w, snakemake.params.facts, t1w_out=out.t1w, subject_out=out.subject)

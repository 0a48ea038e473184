"""Compute the scanner's sensitivity with one subject in it."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.recon import subject_sensitivity

    given, params = snakemake.input, snakemake.params
    subject_sensitivity(
        given.geometric,
        given.mumap,
        given.normalisation,
        snakemake.output.sensitivity,
        lines=params.lines,
        seed=params.seed,
        subject=snakemake.wildcards.subject,
        threads=snakemake.threads,
        listmode=given.get("listmode") or None,
    )

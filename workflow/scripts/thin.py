"""Thin one list-mode file to one dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.thin import thin

    params, wildcards = snakemake.params, snakemake.wildcards
    counts = thin(
        snakemake.input.listmode,
        snakemake.output.listmode,
        drf=int(wildcards.drf),
        seed=params.seed,
        subject=wildcards.subject,
        nested=params.nested,
    )
    print(counts)

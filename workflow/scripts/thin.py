"""Thin one list-mode file to one dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.listmode import thin
    from csrd.seeds import key64

    counts = thin(
        snakemake.input.listmode,
        snakemake.output.listmode,
        drf=int(snakemake.wildcards.drf),
        seed=key64(snakemake.params.seed, snakemake.wildcards.subject),
        nested=snakemake.params.nested,
    )
    print(counts)

"""Scan one virtual subject by the virtual HRRT."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.simulate import simulate_scan

    given, out, params = snakemake.input, snakemake.output, snakemake.params
    counts = simulate_scan(
        given.tracer,
        given.activity,
        given.mumap,
        listmode=out.listmode,
        normalisation=out.normalisation,
        duration_s=params.duration_s,
        randoms_fraction=params.randoms_fraction,
        seed=params.seed,
        subject=snakemake.wildcards.subject,
        threads=snakemake.threads,
    )
    print(counts)

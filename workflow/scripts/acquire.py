"""Scan one virtual subject with the virtual HRRT."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    import numpy as np

    from csrd.io.files import whole_file
    from csrd.io.volume import Volume
    from csrd.scanner.geometry import hrrt
    from csrd.virtual.acquire import Acquisition, acquire, crystal_efficiencies
    from csrd.virtual.tracer import read_tracer

    params, subject = snakemake.params, snakemake.wildcards.subject
    tracer, scanner = read_tracer(snakemake.input.tracer), hrrt()
    efficiencies = crystal_efficiencies(scanner, params.seed, subject)
    counts = acquire(
        activity=Volume.load(snakemake.input.activity),
        mumap=Volume.load(snakemake.input.mumap),
        efficiencies=efficiencies,
        scanner=scanner,
        acquisition=Acquisition(
            params.duration_s, tracer.half_life_s, tracer.branching, params.randoms_fraction
        ),
        path=snakemake.output.listmode,
        seed=params.seed,
        subject=subject,
        threads=snakemake.threads,
    )
    with whole_file(snakemake.output.normalisation) as temporary:
        np.save(temporary, efficiencies)
    print(f"{subject}: {counts}")

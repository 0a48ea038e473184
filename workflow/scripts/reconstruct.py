"""Reconstruct one list-mode file, by the engine of the configuration."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.config.sections import Recon
    from csrd.stages.recon import ScanFiles, reconstruct

    params, wildcards = snakemake.params, snakemake.wildcards
    reconstruct(
        ScanFiles(**{name: Path(file) for name, file in snakemake.input.items() if file}),
        snakemake.output.pet,
        Recon(**params.recon),
        drf=int(wildcards.drf),
        seed=params.seed,
        subject=wildcards.subject,
        threads=snakemake.threads,
        log=snakemake.log[0],
    )

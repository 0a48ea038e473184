"""Reconstruct one list-mode file, by the engine of the configuration."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.config.sections import Recon
    from csrd.io.files import write_json
    from csrd.recon.engines import ScanFiles, reconstruct

    given = {name: Path(file) for name, file in snakemake.input.items() if file}
    pet, sidecar = reconstruct(
        ScanFiles(**given),
        Recon(**snakemake.params.recon),
        drf=int(snakemake.wildcards.drf),
        seed=snakemake.params.seed,
        subject=snakemake.wildcards.subject,
        threads=snakemake.threads,
        log=Path(snakemake.log[0]),
    )
    pet.save(snakemake.output.pet)
    write_json(snakemake.output.sidecar, sidecar)

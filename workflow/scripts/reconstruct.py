"""Reconstruct one list-mode file, by the engine of the configuration."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    import numba
    import numpy as np

    from csrd.config import Recon
    from csrd.files import write_json
    from csrd.recon.corrections import on_grid
    from csrd.recon.embedded import reconstruct
    from csrd.scanner.geometry import hrrt
    from csrd.volume import Volume

    numba.set_num_threads(snakemake.threads)
    given, params = snakemake.input, snakemake.params
    sensitivity = Volume.load(given.sensitivity)
    pet, sidecar = reconstruct(
        given.listmode,
        on_grid(Volume.load(given.mumap), sensitivity),
        np.load(given.normalisation, allow_pickle=False),
        sensitivity,
        hrrt(),
        Recon(**params.recon),
        int(snakemake.wildcards.drf),
        params.seed,
        snakemake.wildcards.subject,
    )
    pet.save(snakemake.output.pet)
    write_json(snakemake.output.sidecar, sidecar)

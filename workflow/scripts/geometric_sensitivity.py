"""Compute the geometric sensitivity of a scanner, once for all subjects scanned by it."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.recon import geometric_sensitivity

    params = snakemake.params
    geometric_sensitivity(
        snakemake.output.sensitivity,
        matrix=params.shape,
        voxel_mm=params.voxel_mm,
        threads=snakemake.threads,
        listmode=snakemake.input.get("listmode") or None,
    )

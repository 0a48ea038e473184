"""Compute how sensitive the scanner is at each voxel, once for all subjects."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    import numba

    from csrd.recon.sensitivity import geometric_sensitivity
    from csrd.scanner.geometry import hrrt

    numba.set_num_threads(snakemake.threads)
    shape, voxel_mm = tuple(snakemake.params.shape), snakemake.params.voxel_mm
    geometric_sensitivity(hrrt(), shape, voxel_mm).save(snakemake.output.sensitivity)

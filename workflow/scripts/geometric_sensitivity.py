"""Compute how sensitive a scanner is at each voxel, once for all subjects that are scanned by it."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    import numba

    from csrd.listmode import open_listmode
    from csrd.recon.sensitivity import geometric_sensitivity
    from csrd.scanner.geometry import hrrt
    from csrd.scanner.petsird import scanner_of_scan

    numba.set_num_threads(snakemake.threads)
    shape, voxel_mm = tuple(snakemake.params.shape), snakemake.params.voxel_mm
    told = snakemake.input.get("listmode")  # by a scan of another scanner than the HRRT
    scanner = scanner_of_scan(open_listmode(told)) if told else hrrt()
    geometric_sensitivity(scanner, shape, voxel_mm).save(snakemake.output.sensitivity)

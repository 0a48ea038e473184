"""Compute how sensitive the scanner is with one subject in it."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    import numba

    from csrd.io.volume import Volume
    from csrd.listmode import open_listmode
    from csrd.recon.sensitivity import subject_sensitivity
    from csrd.resample import resample
    from csrd.scanner.geometry import hrrt
    from csrd.scanner.normalisation import read_efficiencies
    from csrd.scanner.petsird import scanner_of_scan

    numba.set_num_threads(snakemake.threads)
    told = snakemake.input.get("listmode")  # by a scan of another scanner than the HRRT
    scanner = scanner_of_scan(open_listmode(told)) if told else hrrt()
    geometric = Volume.load(snakemake.input.geometric)
    subject_sensitivity(
        scanner,
        geometric,
        resample(Volume.load(snakemake.input.mumap), geometric),
        read_efficiencies(snakemake.input.normalisation, scanner),
        snakemake.params.lines,
        snakemake.params.seed,
        snakemake.wildcards.subject,
    ).save(snakemake.output.sensitivity)

"""Bring in what corrects a list-mode file of the user's: its μ-map and crystal efficiencies."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.cohort.intake import bring_mumap, bring_normalisation
    from csrd.listmode import open_listmode
    from csrd.scanner.geometry import hrrt
    from csrd.scanner.petsird import scanner_of_scan

    bring_mumap(Path(snakemake.input.mumap), Path(snakemake.output.mumap))
    normalisation = snakemake.input.get("normalisation")
    told = snakemake.input.get("listmode")  # by a scan of another scanner than the HRRT
    bring_normalisation(
        Path(normalisation) if normalisation else None,
        Path(snakemake.output.normalisation),
        scanner_of_scan(open_listmode(told)) if told else hrrt(),
    )

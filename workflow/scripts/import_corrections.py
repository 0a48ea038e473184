"""Bring in what corrects a list-mode file of the user's: its μ-map and crystal efficiencies."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.cohort.intake import bring_mumap, bring_normalisation

    bring_mumap(Path(snakemake.input.mumap), Path(snakemake.output.mumap))
    normalisation = snakemake.input.get("normalisation")
    bring_normalisation(
        Path(normalisation) if normalisation else None, Path(snakemake.output.normalisation), "HRRT"
    )

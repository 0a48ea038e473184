"""Import the μ-map and the crystal efficiencies of a scan of the user's."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.import_.import_corrections")

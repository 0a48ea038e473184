"""Write the tables of spots."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.lesions")

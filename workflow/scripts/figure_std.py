"""Draw the errors' size on one subject beside the predicted standard deviations."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.errors")

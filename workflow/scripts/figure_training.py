"""Draw the courses of training from the records beside the models."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.training")

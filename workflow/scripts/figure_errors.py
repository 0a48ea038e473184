"""Draw every method's image of one subject and, below, its error."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.errors")

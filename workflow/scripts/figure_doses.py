"""Draw every metric against the dose."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.dose_quality")

"""Compare CSR-D with every other method, paired by subject."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.statistics")

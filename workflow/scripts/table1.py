"""Write Table 1 and its split by dose."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.table1")

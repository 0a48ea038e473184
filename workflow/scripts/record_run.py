"""Write the record of what the run was made of."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.record_run")

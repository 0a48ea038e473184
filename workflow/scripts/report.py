"""Write the page with all tables, figures and checks."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.report")

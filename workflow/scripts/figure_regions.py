"""Write the table of uptake by region and draw its agreement with the normal dose."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.regions")

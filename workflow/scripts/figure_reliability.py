"""Write the table of coverage and draw the reliability of the standard deviations."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.coverage")

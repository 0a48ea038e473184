"""Measure bias and deviation of every method over the thinnings; write the table and the figure."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.noise")

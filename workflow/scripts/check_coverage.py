"""Measure the coverage of one method's intervals on one subject."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.evaluate.coverage")

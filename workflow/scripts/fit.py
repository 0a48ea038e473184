"""Fit one method on the training subjects."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.fit.fit")

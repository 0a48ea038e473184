"""Simulate one subject's images, and the ground truth."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.simulate.simulate_anatomy")

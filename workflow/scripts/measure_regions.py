"""Measure every method's uptake by region on one subject."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.regions.regions")

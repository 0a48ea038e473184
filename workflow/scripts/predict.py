"""Denoise scans of one subject by one method."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.predict.predict")

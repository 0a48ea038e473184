"""Crop one thinning's image to the grid of the normal dose."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.align.crop_like")

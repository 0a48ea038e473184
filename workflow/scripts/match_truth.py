"""Bring one subject's truth onto the grid and to the resolution of its normal dose."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.regions.match_truth")

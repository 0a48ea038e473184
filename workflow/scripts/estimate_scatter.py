"""Estimate the scatter of one scan."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.recon.estimate_scatter")

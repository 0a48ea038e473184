"""Measure BP_ND of one virtual subject by region, method and dose."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.binding.measure")

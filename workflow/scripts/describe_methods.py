"""Describe the methods of scans that were denoised as they are."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.scans.describe_methods")

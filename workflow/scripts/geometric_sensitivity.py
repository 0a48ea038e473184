"""Compute the geometric sensitivity of a scanner, once for all subjects scanned by it."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.recon.geometric_sensitivity")

"""Compute the scanner's sensitivity with one subject in it."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.recon.subject_sensitivity")

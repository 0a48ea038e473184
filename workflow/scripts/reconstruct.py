"""Reconstruct one list-mode file, by the engine of the configuration."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.recon.reconstruct")

"""Reconstruct the time frames of one list-mode file as a 4D image, by the embedded engine."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.recon.reconstruct_frames")

"""Bring the MR onto the grid of a low dose that has no normal one beside it."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.align.align_mr")

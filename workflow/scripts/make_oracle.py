"""Blend one subject's low doses with the truth."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.controls.oracle")

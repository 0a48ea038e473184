"""Measure spots in one subject's images."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.lesions.lesions")

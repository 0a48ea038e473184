"""Thin one list-mode file to one dose."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.thin.thin")

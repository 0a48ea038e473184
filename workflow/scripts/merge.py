"""Merge the tables of all subjects and methods into one."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.evaluate.merge")

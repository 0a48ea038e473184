"""Bring one subject's PET images and MR onto one cropped grid."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.align.align")

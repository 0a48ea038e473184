"""Describe the folder of derivatives, as BIDS requires."""

from csrd.jobs.rule import run

run(snakemake, "csrd.io.bids.write_description")

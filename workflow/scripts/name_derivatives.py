"""Give the images of participants with several scans their BIDS names."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.names.name_derivatives")

"""Record size and checksum of every file that a subject comes with."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.import_.hash_inputs")

"""Compare binding potentials of test and retest."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.retest.retest")

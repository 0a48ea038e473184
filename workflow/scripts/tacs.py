"""Write the curves of a dynamic scan by region."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.kinetics.tacs")

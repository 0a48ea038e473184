"""Write binding potentials by region."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.kinetics.kinetics")

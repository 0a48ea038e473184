"""Write the regions of a dynamic scan."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.kinetics.find_regions")

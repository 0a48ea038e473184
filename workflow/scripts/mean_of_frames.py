"""Write the images of all counts of dynamic scans."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.binding.means")

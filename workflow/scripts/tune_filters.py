"""Choose the strengths of filters of dynamic scans on the validation subjects."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.binding.tune")

"""Write bias and spread of BP_ND of the dynamic cohort."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.binding.report")

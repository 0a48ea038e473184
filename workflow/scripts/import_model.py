"""Import a method that was fitted before."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.fit.import_model")

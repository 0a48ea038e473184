"""Compare every method's images of one subject with the normal dose, or with the truth."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.evaluate.evaluate")

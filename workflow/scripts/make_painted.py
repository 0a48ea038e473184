"""Paint the training subjects' mean uptake into one subject's labels."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.controls.painted")

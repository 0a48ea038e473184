"""Import a T1w image of the user's, and the facts about its subject."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.import_.import_t1w")

"""Import a list-mode file of the user's, which stays where it is."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.import_.import_listmode")

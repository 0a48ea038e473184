"""Import PET images of the user's that are reconstructed already."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.import_.import_images")

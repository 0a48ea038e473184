"""Write the page of one denoised scan."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.page.page")

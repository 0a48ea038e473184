"""Draw the agreement of the normal doses with the vendor's images."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.vendor")

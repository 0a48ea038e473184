"""Compare a scan's normal dose with the vendor's image of it."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.vendor.compare_vendor")

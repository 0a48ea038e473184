"""Draw one subject side by side: truth, MR, normal dose, low doses, and every method at one dose."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.report.comparison")

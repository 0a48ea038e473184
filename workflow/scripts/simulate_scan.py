"""Scan one virtual subject by the virtual HRRT."""

from csrd.jobs.rule import run

run(snakemake, "csrd.stages.simulate.simulate_scan")

"""Record size and checksum of every file that a subject comes with."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.import_ import hash_inputs

    hash_inputs(snakemake.input, snakemake.output.record)

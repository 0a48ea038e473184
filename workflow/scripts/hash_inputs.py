"""Record size and checksum of every file that a subject comes with."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.io.files import checksums, write_json

    write_json(snakemake.output.record, checksums(snakemake.input))

"""Bring in a T1w image of the user's, and what is known about its subject."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.cohort.intake import bring_t1w
    from csrd.io.files import write_json

    bring_t1w(Path(snakemake.input.t1w), Path(snakemake.output.t1w))
    facts = snakemake.params.facts
    write_json(snakemake.output.subject, {**facts, "activity_MBq": facts["injected_MBq"]})

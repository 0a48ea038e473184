"""Measure the coverage of one method's intervals on one subject."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.io.bids import by_dose
    from csrd.stages.evaluate import coverage

    given, wildcards = snakemake.input, snakemake.wildcards
    coverage(
        {name: given[name] for name in ("normal", "truth") if given[name]},
        given.mask,
        by_dose(given.images),
        by_dose(given.stds),
        snakemake.output.table,
        subject=wildcards.subject,
        method=wildcards.method,
    )

"""Measure bias and deviation of every method over the thinnings; write the table and the figure."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.report import noise

    given, out, params = snakemake.input, snakemake.output, snakemake.params
    noise(
        given.images,
        given.truth[0],
        given.labels[0],
        given.mask[0],
        table=out.table,
        figure=out.figure,
        page=out.page,
        subject=params.subject,
        drf=params.drf,
    )

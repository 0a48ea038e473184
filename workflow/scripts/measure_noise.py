"""Measure bias and deviation of every method over the draws; write the table and the figure."""

from itertools import product

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.metrics.noise import noise
    from csrd.report.noise import noise_figure, noise_page

    given, made, params = snakemake.input, snakemake.output, snakemake.params
    images = {method: [] for method in params.methods}
    for (method, _), path in zip(product(params.methods, params.draws), given.images, strict=True):
        images[method].append(path)
    facts = {"subject": params.subject, "drf": params.drf}
    noise(images, given.truth[0], given.labels[0], given.mask[0], made.table, **facts)
    noise_figure(made.figure, made.table)
    noise_page(made.page, made.table, made.figure, draws=len(params.draws), **facts)

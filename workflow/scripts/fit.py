"""Fit one method on the training subjects."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.config.sections import Metrics
    from csrd.methods import FitContext, method
    from csrd.stages.fit import fit

    given, params, key = snakemake.input, snakemake.params, snakemake.wildcards.method
    fit(
        key,
        params.splits,
        method(key).Settings(**params.settings),
        Path(snakemake.output.model).parent,
        FitContext(params.seed, Metrics(**params.metrics), snakemake.threads),
        lows=given.lows,
        normals=given.normals,
        mrs=given.mrs,
        masks=given.masks,
        processes=max(snakemake.resources.gpu, 1),
    )

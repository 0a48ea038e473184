"""Fit one method on the training subjects."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.fit import fit

    given, params = snakemake.input, snakemake.params
    fit(
        snakemake.wildcards.method,
        params.splits,
        params.settings,
        Path(snakemake.output.model).parent,
        lows=given.lows,
        normals=given.normals,
        mrs=given.mrs,
        masks=given.masks,
        threads=snakemake.threads,
        processes=max(snakemake.resources.gpu, 1),
    )

"""Import a method that was fitted before."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.fit import import_model

    given, out = snakemake.input, snakemake.output
    import_model(snakemake.wildcards.method, Path(given.model).parent, Path(out.model).parent)

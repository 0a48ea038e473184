"""Apply one method to a low dose that has no normal one beside it."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.methods.denoise import denoise

    given, out, drf = snakemake.input, snakemake.output, int(snakemake.wildcards.drf)
    denoise(
        snakemake.wildcards.method,
        Path(given.model).parent,
        {drf: given.low},
        given.get("mr") or None,
        {drf: out.image},
        {drf: out.spread} if out.get("spread") else None,
    )

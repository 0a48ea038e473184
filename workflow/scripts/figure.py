"""Show one subject side by side: truth, MR, normal dose, low doses, and every method at one dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.figures import comparison

    given, params, drf = snakemake.input, snakemake.params, int(snakemake.wildcards.drf)
    comparison(
        snakemake.output.figure,
        given.reference,
        given.mask,
        lows=dict(zip(params.drfs, given.lows, strict=True)),
        denoised={method: {drf: image} for method, image in zip(params.methods, given.denoised, strict=True)},
        drf=drf,
        mr=given.mr,
        truth=given.get("truth") or None,
    )

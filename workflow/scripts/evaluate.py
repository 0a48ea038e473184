"""Compare one method's images of one subject with the normal dose."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.files import read_json
    from csrd.metrics.evaluate import evaluate

    given, params = snakemake.input, snakemake.params
    facts = read_json(given.subject) if params.in_suv else {}
    evaluate(
        given.reference,
        given.mask,
        dict(zip(params.drfs, given.images, strict=True)),
        snakemake.output.table,
        subject=snakemake.wildcards.subject,
        method=snakemake.wildcards.method,
        weight_kg=facts.get("weight_kg"),
        activity_MBq=facts.get("activity_MBq"),
    )

"""Compare every method's images of one subject with the normal dose."""

from itertools import product

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.config.sections import Metrics
    from csrd.io.files import read_json
    from csrd.metrics.evaluate import evaluate

    given, params = snakemake.input, snakemake.params
    facts = read_json(given.subject) if params.in_suv else {}
    images = {method: {} for method in params.methods}
    for (method, drf), path in zip(product(params.methods, params.drfs), given.images, strict=True):
        images[method][drf] = path
    evaluate(
        given.reference,
        given.mask,
        images,
        dict(zip(params.methods, snakemake.output.tables, strict=True)),
        Metrics(**params.metrics),
        subject=snakemake.wildcards.subject,
        lows=dict(zip(params.drfs, given.lows, strict=True)),
        weight_kg=facts.get("weight_kg"),
        activity_MBq=facts.get("activity_MBq"),
    )

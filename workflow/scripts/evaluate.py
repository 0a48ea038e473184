"""Compare every method's images of one subject with the normal dose, or with the truth."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.config.sections import Metrics
    from csrd.io.bids import by_dose, by_method
    from csrd.io.files import read_json
    from csrd.stages.evaluate import evaluate

    given, params = snakemake.input, snakemake.params
    facts = read_json(given.subject) if params.in_suv else {}
    evaluate(
        given.reference,
        given.mask,
        by_method(given.images),
        dict(zip(params.methods, snakemake.output.tables, strict=True)),
        Metrics(**params.metrics),
        subject=snakemake.wildcards.subject,
        lows=by_dose(given.lows),
        weight_kg=facts.get("weight_kg"),
        activity_MBq=facts.get("activity_MBq"),
    )

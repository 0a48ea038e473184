"""Write the page with all tables, figures and checks, and the record of what the run was made of."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.config import load
    from csrd.report.report import Files, Pictures, report, versions
    from csrd.report.run import write_run

    given, params, settings = snakemake.input, snakemake.params, snakemake.params.settings
    drawn = [kind for kind in ("comparison", "errors", "spread") if given[kind]]
    by_subject = {kind: dict(zip(params.test_subjects, given[kind], strict=True)) for kind in drawn}
    whole = {kind: given[kind] or None for kind in ("dose_quality", "training", "reliability", "agreement")}
    registration = dict(zip(params.registered, given.registration, strict=True))
    run = write_run(
        snakemake.output.run,
        settings,
        versions=versions(),
        subjects=dict(zip(params.subjects, given.inputs, strict=True)),
        tables=given.study,
        models=dict(zip(params.methods, given.models, strict=True)),
        metrics=given.metrics,
    )
    merged = {kind: given[kind] or None for kind in ("coverage", "truth", "regions")}
    report(
        snakemake.output.page,
        Files(given.metrics, benchmarks=params.benchmarks, sidecars=given.sidecars, **merged),
        Pictures(**by_subject, **whole, registration=registration),
        load(settings),
        params.test_subjects,
        in_suv=params.in_suv,
        run=run,
    )

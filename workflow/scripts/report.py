"""Write the page with all tables, figures and checks, and the record of what the run was made of."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.report import Pictures, report, versions
    from csrd.report.run import write_run
    from csrd.report.table import units_of

    given, params, settings = snakemake.input, snakemake.params, snakemake.params.settings
    kinds = [kind for kind in ("comparison", "errors", "spread") if given[kind]]
    by_subject = {kind: dict(zip(params.test_subjects, given[kind], strict=True)) for kind in kinds}
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
    report(
        snakemake.output.page,
        given.metrics,
        title=settings["report"]["title"],
        methods=settings["methods"],
        test_subjects=params.test_subjects,
        drfs=settings["drfs"],
        train_drfs=settings["train_drfs"],
        simulated=params.simulated,
        pictures=Pictures(**by_subject, **whole, registration=registration),
        settings=settings,
        units=units_of(params.in_suv, settings["metrics"]["vgg"]),
        protocol=settings["metrics"]["protocol"],
        coverage=given.coverage or None,
        truth=given.truth or None,
        regions=given.regions or None,
        benchmarks=params.benchmarks,
        run=run,
        sidecars=given.sidecars,
    )

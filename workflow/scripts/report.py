"""Write the page with the table, the figures, the registrations, the settings and the versions."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.report import report
    from csrd.report.table import units_of

    given, params, settings = snakemake.input, snakemake.params, snakemake.params.settings
    report(
        snakemake.output.page,
        given.metrics,
        title=settings["report"]["title"],
        methods=settings["methods"],
        test_subjects=params.test_subjects,
        drfs=settings["drfs"],
        train_drfs=settings["train_drfs"],
        simulated=params.simulated,
        figures=dict(zip(params.figures, given.figures, strict=True)),
        registrations=dict(zip(params.subjects, given.registrations, strict=True)),
        settings=settings,
        units=units_of(params.in_suv, settings["metrics"]["vgg"]),
        protocol=settings["metrics"]["protocol"],
    )

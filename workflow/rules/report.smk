# The report: Table 1, the figures, and one page with all of them.
SHOWN_METHODS = [method for method in settings.fitted_methods if method in COMPARED_METHODS]


rule table1:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
        lesions="<results>/metrics/lesions.csv" if SIMULATED else [],
        false="<results>/metrics/false_spots.csv" if SIMULATED else [],
    output:
        tables=multiext("<results>/tables/table1", ".csv", ".md", ".tex"),
        by_dose="<results>/tables/table1_by_dose.csv",
        page=report(
            "<results>/tables/table1.html",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "Table 1", "doses": "all"},
        ),
        page_by_dose=report(
            "<results>/tables/table1_by_dose.html",
            caption="../report/table1_by_dose.rst",
            category="Tables",
            labels={"table": "Table 1", "doses": "each"},
        ),
    log:
        "<logs>/table1.log",
    benchmark:
        "<benchmarks>/table1.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        methods=COMPARED_METHODS,
        drfs=lookup(dpath="drfs", within=config),
        train_drfs=lookup(dpath="train_drfs", within=config),
        subjects=subjects_of("test"),
        simulated=SIMULATED,
        in_suv=cohort.in_suv(subjects.values()),
        vgg=lookup(dpath="metrics/vgg", within=config),
        protocol=lookup(dpath="metrics/protocol", within=config),
        target="normal",
        controls=[*CONTROLS, *settings.control_methods],
        scatter=lookup(dpath="acquisition/scatter", within=config),
    message:
        "Write Table 1"
    script:
        "../scripts/table1.py"


if SIMULATED:

    use rule table1 as table1_truth with:
        input:
            code=code_of("report"),
            metrics="<results>/metrics/metrics_truth.csv",
        output:
            tables=multiext("<results>/tables/table1_truth", ".csv", ".md", ".tex"),
            by_dose="<results>/tables/table1_truth_by_dose.csv",
            page=report(
                "<results>/tables/table1_truth.html",
                caption="../report/table1_truth.rst",
                category="Tables",
                labels={"table": "Table 1 against the truth", "doses": "all"},
            ),
            page_by_dose=report(
                "<results>/tables/table1_truth_by_dose.html",
                caption="../report/table1_truth.rst",
                category="Tables",
                labels={"table": "Table 1 against the truth", "doses": "each"},
            ),
        log:
            "<logs>/table1_truth.log",
        benchmark:
            "<benchmarks>/table1_truth.tsv"
        params:
            methods=COMPARED_METHODS,
            drfs=lookup(dpath="drfs", within=config),
            train_drfs=lookup(dpath="train_drfs", within=config),
            subjects=subjects_of("test"),
            simulated=SIMULATED,
            in_suv=cohort.in_suv(subjects.values()),
            vgg=lookup(dpath="metrics/vgg", within=config),
            protocol=lookup(dpath="metrics/protocol", within=config),
            target="truth",
            controls=[*CONTROLS_OF_TRUTH, *settings.control_methods],
            scatter=lookup(dpath="acquisition/scatter", within=config),
        message:
            "Write Table 1 against the truth"

    rule tables_lesions:
        input:
            code=code_of("report"),
            lesions="<results>/metrics/lesions.csv",
            false="<results>/metrics/false_spots.csv",
        output:
            table="<results>/tables/lesions.csv",
            false_spots="<results>/tables/false_spots.csv",
            page=report(
                "<results>/tables/lesions.html",
                caption="../report/lesions.rst",
                category="Tables",
                labels={"table": "Lesions", "doses": "each"},
            ),
        log:
            "<logs>/tables_lesions.log",
        benchmark:
            "<benchmarks>/tables_lesions.tsv"
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=growing(5),
        message:
            "Write the tables of lesions"
        script:
            "../scripts/write_lesions.py"

    rule figure_regions:
        input:
            code=code_of("report"),
            regions="<results>/metrics/regions.csv",
        output:
            table="<results>/tables/regions.csv",
            page=report(
                "<results>/tables/regions.html",
                caption="../report/regions.rst",
                category="Tables",
                labels={"table": "Uptake by region", "doses": "averaged"},
            ),
            figure=report(
                "<results>/figures/bland_altman.png",
                caption="../report/bland_altman.rst",
                category="Curves",
                labels={"figure": "agreement by region"},
            ),
        log:
            "<logs>/figure_regions.log",
        benchmark:
            "<benchmarks>/figure_regions.tsv"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(5),
        message:
            "Draw the uptake by region"
        script:
            "../scripts/figure_regions.py"


if WITH_VENDOR:

    rule figure_vendor:
        input:
            code=code_of("report"),
            vendor="<results>/metrics/vendor.csv",
        output:
            figure=report(
                "<results>/figures/vendor.png",
                caption="../report/vendor.rst",
                category="Curves",
                labels={"figure": "agreement with the vendor's images"},
            ),
        log:
            "<logs>/figure_vendor.log",
        benchmark:
            "<benchmarks>/figure_vendor.tsv"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(5),
        message:
            "Draw the agreement with the vendor's images"
        script:
            "../scripts/figure_vendor.py"


rule statistics:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
    output:
        table="<results>/tables/statistics.csv",
        page=report(
            "<results>/tables/statistics.html",
            caption="../report/statistics.rst",
            category="Tables",
            labels={"table": "Paired comparison", "doses": "averaged"},
        ),
    log:
        "<logs>/statistics.log",
    benchmark:
        "<benchmarks>/statistics.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        methods=COMPARED_METHODS,
        drfs=lookup(dpath="drfs", within=config),
        subjects=subjects_of("test"),
    message:
        "Compare CSR-D with the other methods, subject by subject"
    script:
        "../scripts/compare_methods.py"


rule figure:
    input:
        code=code_of("report"),
        reference=f"{REFERENCE}.nii.gz",
        mask=f"{HEAD}.nii.gz",
        mr=f"{MR}.nii.gz",
        lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
        denoised=expand(f"{DENOISED}.nii.gz", method=SHOWN_METHODS, allow_missing=True),
        truth=TRUTH,
    output:
        figure=report(
            "<results>/figures/{subject}_drf-{drf}.png",
            caption="../report/comparison.rst",
            category="Images",
            subcategory="{subject}",
            labels={"figure": "images", "dose": "1/{drf}"},
        ),
    log:
        "<logs>/figure/{subject}_drf-{drf}.log",
    benchmark:
        "<benchmarks>/figure/{subject}_drf-{drf}.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        drfs=lookup(dpath="drfs", within=config),
        methods=SHOWN_METHODS,
    message:
        "{wildcards.subject}: draw the methods at 1/{wildcards.drf} of the dose"
    script:
        "../scripts/figure.py"


rule figure_errors:
    input:
        code=code_of("report"),
        reference=f"{REFERENCE}.nii.gz",
        mask=f"{HEAD}.nii.gz",
        images=expand(f"{DENOISED}.nii.gz", method=COMPARED_METHODS, allow_missing=True),
    output:
        figure=report(
            "<results>/figures/{subject}_drf-{drf}_errors.png",
            caption="../report/errors.rst",
            category="Images",
            subcategory="{subject}",
            labels={"figure": "errors", "dose": "1/{drf}"},
        ),
    log:
        "<logs>/figure_errors/{subject}_drf-{drf}.log",
    benchmark:
        "<benchmarks>/figure_errors/{subject}_drf-{drf}.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        methods=COMPARED_METHODS,
    message:
        "{wildcards.subject}: draw the errors at 1/{wildcards.drf} of the dose"
    script:
        "../scripts/figure_errors.py"


rule figure_std:
    input:
        code=code_of("report"),
        reference=f"{REFERENCE}.nii.gz",
        mask=f"{HEAD}.nii.gz",
        images=expand(f"{DENOISED}.nii.gz", method=settings.methods_with_std, allow_missing=True),
        stds=expand(f"{STD}.nii.gz", method=settings.methods_with_std, allow_missing=True),
    output:
        figure=report(
            "<results>/figures/{subject}_drf-{drf}_std.png",
            caption="../report/std.rst",
            category="Images",
            subcategory="{subject}",
            labels={"figure": "standard deviation", "dose": "1/{drf}"},
        ),
    log:
        "<logs>/figure_std/{subject}_drf-{drf}.log",
    benchmark:
        "<benchmarks>/figure_std/{subject}_drf-{drf}.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        methods=settings.methods_with_std,
    message:
        "{wildcards.subject}: draw errors and predicted deviations at 1/{wildcards.drf} of the dose"
    script:
        "../scripts/figure_std.py"


rule figure_doses:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
    output:
        figure=report(
            "<results>/figures/dose_quality.png",
            caption="../report/dose_quality.rst",
            category="Curves",
            labels={"figure": "quality against dose"},
        ),
    log:
        "<logs>/figure_doses.log",
    benchmark:
        "<benchmarks>/figure_doses.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(5),
    params:
        methods=COMPARED_METHODS,
        drfs=lookup(dpath="drfs", within=config),
        train_drfs=lookup(dpath="train_drfs", within=config),
        in_suv=cohort.in_suv(subjects.values()),
        vgg=lookup(dpath="metrics/vgg", within=config),
    message:
        "Draw quality against dose"
    script:
        "../scripts/figure_doses.py"


rule figure_training:
    input:
        code=code_of("report"),
        models=expand("<results>/models/{method}/model.json", method=LEARNED_HERE),
        histories=expand("<results>/models/{method}/history.jsonl", method=LEARNED_HERE),
    output:
        figure=report(
            "<results>/figures/training.png",
            caption="../report/training.rst",
            category="Curves",
            labels={"figure": "training"},
        ),
    log:
        "<logs>/figure_training.log",
    benchmark:
        "<benchmarks>/figure_training.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(5),
    params:
        methods=LEARNED_HERE,
    message:
        "Draw the training curves"
    script:
        "../scripts/figure_training.py"


rule figure_reliability:
    input:
        code=code_of("report"),
        coverage="<results>/metrics/coverage.csv",
    output:
        table="<results>/tables/coverage.csv",
        page=report(
            "<results>/tables/coverage.html",
            caption="../report/coverage.rst",
            category="Tables",
            labels={"table": "Coverage", "doses": "averaged"},
        ),
        figure=report(
            "<results>/figures/reliability.png",
            caption="../report/reliability.rst",
            category="Curves",
            labels={"figure": "reliability of the standard deviation"},
        ),
    log:
        "<logs>/figure_reliability.log",
    benchmark:
        "<benchmarks>/figure_reliability.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(5),
    params:
        train_drfs=lookup(dpath="train_drfs", within=config),
    message:
        "Draw the coverage of the intervals"
    script:
        "../scripts/figure_reliability.py"


# The record of the run.
rule record_run:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
        inputs=expand(f"{INPUTS}.json", subject=subjects),
        study=local_files(settings.cohort.tracer if SIMULATED else settings.cohort.sheet),
        models=expand("<results>/models/{method}/model.json", method=settings.fitted_methods),
    output:
        run="<results>/run.json",
    log:
        "<logs>/record_run.log",
    benchmark:
        "<benchmarks>/record_run.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        settings=settings.model_dump(mode="json"),
        subjects=list(subjects),
        methods=settings.fitted_methods,
    message:
        "Write the record of the run"
    script:
        "../scripts/record_run.py"


TEST = subjects_of("test")
PAGED = paged_method(settings.fitted_methods)


# One page for each test subject: the first method with a standard deviation, at the lowest dose.
rule scan_page:
    input:
        code=code_of("report", "page"),
        low=f"{LOW}.nii.gz",
        image=f"{DENOISED}.nii.gz",
        sidecar=f"{DENOISED}.json",
        std=f"{STD}.nii.gz" if PAGED in settings.methods_with_std else [],
        mr=f"{MR}.nii.gz" if PAGED and method(PAGED).wants_mr else [],
        reference=f"{REFERENCE}.nii.gz",
        labels=f"{LABELS}.nii.gz" if SIMULATED else [],
    output:
        page=SCAN_PAGE,
    log:
        "<logs>/scan_page/{subject}_drf-{drf}_{method}.log",
    benchmark:
        "<benchmarks>/scan_page/{subject}_drf-{drf}_{method}.tsv"
    wildcard_constraints:
        subject=among(TEST),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        virtual=SIMULATED,
    message:
        "{wildcards.subject}: write the page of 1/{wildcards.drf} of the dose by {wildcards.method}"
    script:
        "../scripts/scan_page.py"


# A low dose without a normal dose.
use rule scan_page as scan_page_alone with:
    input:
        code=code_of("report", "page"),
        low=f"{RECONSTRUCTED}.nii.gz",
        image=f"{DENOISED}.nii.gz",
        sidecar=f"{DENOISED}.json",
        std=branch(
            lambda wildcards: wildcards.method in settings.methods_with_std,
            then=f"{STD}.nii.gz",
        ),
        mr=branch(
            lambda wildcards: wildcards.subject in ALONE_WITH_MR and method(wildcards.method).wants_mr,
            then=f"{MR}.nii.gz",
        ),
    wildcard_constraints:
        subject=among(ALONE),
    params:
        virtual=False,


PAGES = expand(SCAN_PAGE, subject=TEST, drf=LOWEST, method=[PAGED] if PAGED else [])
FIGURES = {  # by kind (a field of csrd.report.report.Pictures): subject, None for all, and file
    "comparison": of_subjects("<results>/figures/{subject}_drf-{drf}.png", TEST),
    "errors": of_subjects("<results>/figures/{subject}_drf-{drf}_errors.png", TEST),
    "std": (
        of_subjects("<results>/figures/{subject}_drf-{drf}_std.png", TEST)
        if settings.methods_with_std
        else []
    ),
    "registration": of_subjects(
        "<results>/figures/registration/{subject}.png", [*COMPARED_SUBJECTS, *ALONE_WITH_MR]
    ),
    "dose_quality": [(None, "<results>/figures/dose_quality.png")],
    "training": [(None, "<results>/figures/training.png")] if LEARNED_HERE else [],
    "reliability": [(None, "<results>/figures/reliability.png")] if settings.methods_with_std else [],
    "agreement": [(None, "<results>/figures/bland_altman.png")] if SIMULATED else [],
    "vendor": [(None, "<results>/figures/vendor.png")] if WITH_VENDOR else [],
}


rule report:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
        pictures=[file for kind in FIGURES for _, file in FIGURES[kind]],
        coverage="<results>/metrics/coverage.csv" if settings.methods_with_std else [],
        truth="<results>/metrics/metrics_truth.csv" if SIMULATED else [],
        regions="<results>/metrics/regions.csv" if SIMULATED else [],
        lesions="<results>/metrics/lesions.csv" if SIMULATED else [],
        false="<results>/metrics/false_spots.csv" if SIMULATED else [],
        vendor="<results>/metrics/vendor.csv" if WITH_VENDOR else [],
        sidecars=expand(f"{REFERENCE}.json", subject=COMPARED_SUBJECTS),
        run=rules.record_run.output.run,
        scans=PAGES,
    output:
        page="<results>/report.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        settings=settings.model_dump(mode="json"),
        benchmarks=lambda wildcards, output: str(Path(output.page).with_name("benchmarks")),
        shown=[[kind, subject] for kind in FIGURES for subject, _ in FIGURES[kind]],
        test_subjects=TEST,
        controls=[*CONTROLS, *settings.control_methods],
        in_suv=cohort.in_suv(subjects.values()),
    message:
        "Write the report"
    script:
        "../scripts/report.py"

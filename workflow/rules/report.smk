# The record of the run, pages of scans, and one page with all results.
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

# What is shown at the end: Table 1, the figures, one page with all of them.
rule table1:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
    output:
        tables=multiext("<results>/tables/table1", ".csv", ".md", ".tex", ".html"),
        by_dose=multiext("<results>/tables/table1_by_dose", ".csv", ".html"),
    log:
        "<logs>/table1.log",
    benchmark:
        "<benchmarks>/table1.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        methods=lookup(dpath="methods", within=config),
        drfs=lookup(dpath="drfs", within=config),
        train_drfs=lookup(dpath="train_drfs", within=config),
        subjects=subjects_of("test"),
        simulated=SIMULATED,
        in_suv=cohort.in_suv(subjects.values()),
        vgg=lookup(dpath="metrics/vgg", within=config),
        protocol=lookup(dpath="metrics/protocol", within=config),
    message:
        "Write Table 1"
    script:
        "../scripts/table1.py"


rule figure:
    input:
        code=code_of("report"),
        reference=f"{REFERENCE}.nii.gz",
        mask=f"{ANAT}_space-pet_desc-head_mask.nii.gz",
        mr=f"{ANAT}_space-pet_desc-preproc_T1w.nii.gz",
        lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
        denoised=expand(f"{DENOISED}.nii.gz", method=settings.fitted_methods, allow_missing=True),
        truth=TRUTH,
    output:
        figure="<results>/figures/{subject}_drf-{drf}.png",
    log:
        "<logs>/figure/{subject}_drf-{drf}.log",
    benchmark:
        "<benchmarks>/figure/{subject}_drf-{drf}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        drfs=lookup(dpath="drfs", within=config),
        methods=settings.fitted_methods,
    message:
        "{wildcards.subject}: draw the methods at 1/{wildcards.drf} of the dose"
    script:
        "../scripts/figure.py"


rule report:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
        figures=expand(
            "<results>/figures/{subject}_drf-{drf}.png", subject=subjects_of("test"), drf=max(settings.drfs)
        ),
        registrations=expand("<results>/figures/registration/{subject}.png", subject=subjects),
    output:
        page="<results>/report.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings.model_dump(mode="json"),
        figures=[f"{name}, methods at 1/{max(settings.drfs)} dose" for name in subjects_of("test")],
        subjects=list(subjects),
        test_subjects=subjects_of("test"),
        simulated=SIMULATED,
        in_suv=cohort.in_suv(subjects.values()),
    message:
        "Write the report"
    script:
        "../scripts/report.py"

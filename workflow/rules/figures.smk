# The figures of the report: images, errors, deviations, curves.
SHOWN_METHODS = [method for method in settings.fitted_methods if method in COMPARED_METHODS]


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

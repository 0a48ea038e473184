# All methods' images of a subject against its normal dose, whose features are computed once.
rule evaluate:
    input:
        images=expand(f"{DENOISED}.nii.gz", method=settings.methods, drf=settings.drfs, allow_missing=True),
        lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
        reference=f"{REFERENCE}.nii.gz",
        mask=f"{HEAD}.nii.gz",
        facts=f"{FACTS}.json",
        code=code_of("metrics", "evaluate"),
    output:
        tables=expand("<results>/metrics/{subject}_{method}.csv", method=settings.methods, allow_missing=True),
    log:
        "<logs>/evaluate/{subject}.log",
    benchmark:
        "<benchmarks>/evaluate/{subject}.tsv"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        drfs=lookup(dpath="drfs", within=config),
        methods=lookup(dpath="methods", within=config),
        metrics=lookup(dpath="metrics", within=config),
        in_suv=cohort.in_suv(subjects.values()),
    message:
        "{wildcards.subject}: evaluate {params.methods}"
    script:
        "../scripts/evaluate.py"


rule merge_metrics:
    input:
        tables=expand(
            "<results>/metrics/{subject}_{method}.csv", subject=subjects_of("test"), method=settings.methods
        ),
    output:
        table="<results>/metrics/metrics.csv",
    log:
        "<logs>/merge_metrics.log",
    benchmark:
        "<benchmarks>/merge_metrics.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        row=["subject", "drf", "method"],
    message:
        "Merge the metrics"
    script:
        "../scripts/merge.py"


# Coverage of the normal dose, and of the truth where it is known, by a method's intervals.
rule coverage:
    input:
        images=expand(f"{DENOISED}.nii.gz", drf=settings.drfs, allow_missing=True),
        stds=expand(f"{STD}.nii.gz", drf=settings.drfs, allow_missing=True),
        std_sidecars=expand(f"{STD}.json", drf=settings.drfs, allow_missing=True),
        normal=f"{REFERENCE}.nii.gz",
        mask=f"{HEAD}.nii.gz",
        truth=MATCHED_TRUTH,
        code=code_of("metrics", "evaluate"),
    output:
        table="<results>/metrics/{subject}_{method}_coverage.csv",
    log:
        "<logs>/coverage/{subject}_{method}.log",
    benchmark:
        "<benchmarks>/coverage/{subject}_{method}.tsv"
    wildcard_constraints:
        method=among(settings.methods_with_std),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        drfs=lookup(dpath="drfs", within=config),
    message:
        "{wildcards.subject}: measure the coverage of {wildcards.method}"
    script:
        "../scripts/check_coverage.py"


use rule merge_metrics as merge_coverage with:
    input:
        tables=expand(
            "<results>/metrics/{subject}_{method}_coverage.csv",
            subject=subjects_of("test"),
            method=settings.methods_with_std,
        ),
    output:
        table="<results>/metrics/coverage.csv",
    log:
        "<logs>/merge_coverage.log",
    benchmark:
        "<benchmarks>/merge_coverage.tsv"
    params:
        row=["subject", "drf", "method", "target", "level"],
    message:
        "Merge the coverage of all methods"


# With ground truth, which only the virtual cohort has: the metrics against it, and uptake by region.
if SIMULATED:

    rule match_truth:
        input:
            activity=TRUTH,
            normal=f"{REFERENCE}.nii.gz",
            mask=f"{HEAD}.nii.gz",
            code=code_of("metrics", "evaluate", "regions"),
        output:
            truth=MATCHED_TRUTH,
            sidecar="<results>/metrics/{subject}_truth.json",
        log:
            "<logs>/match_truth/{subject}.log",
        benchmark:
            "<benchmarks>/match_truth/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        message:
            "{wildcards.subject}: smooth the truth to the resolution of the normal dose"
        script:
            "../scripts/match_truth.py"

    use rule evaluate as evaluate_truth with:
        input:
            images=expand(
                f"{DENOISED}.nii.gz", method=settings.methods, drf=settings.drfs, allow_missing=True
            ),
            lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
            reference=MATCHED_TRUTH,
            mask=f"{HEAD}.nii.gz",
            facts=f"{FACTS}.json",
            code=code_of("metrics", "evaluate"),
        output:
            tables=expand(
                "<results>/metrics/{subject}_{method}_truth.csv", method=settings.methods, allow_missing=True
            ),
        log:
            "<logs>/evaluate_truth/{subject}.log",
        benchmark:
            "<benchmarks>/evaluate_truth/{subject}.tsv"
        message:
            "{wildcards.subject}: evaluate {params.methods} against the truth"

    use rule merge_metrics as merge_truth with:
        input:
            tables=expand(
                "<results>/metrics/{subject}_{method}_truth.csv",
                subject=subjects_of("test"),
                method=settings.methods,
            ),
        output:
            table="<results>/metrics/metrics_truth.csv",
        log:
            "<logs>/merge_truth.log",
        benchmark:
            "<benchmarks>/merge_truth.tsv"
        message:
            "Merge the metrics against the truth"

    rule regions:
        input:
            images=expand(
                f"{DENOISED}.nii.gz", method=settings.methods, drf=settings.drfs, allow_missing=True
            ),
            normal=f"{REFERENCE}.nii.gz",
            mask=f"{HEAD}.nii.gz",
            activity=TRUTH,
            labels=f"{LABELS}.nii.gz",
            spots=f"{MR_TO_PET}.json",
            matched=MATCHED_TRUTH,
            sidecar="<results>/metrics/{subject}_truth.json",
            code=code_of("metrics", "evaluate", "regions"),
        output:
            table="<results>/metrics/{subject}_regions.csv",
        log:
            "<logs>/regions/{subject}.log",
        benchmark:
            "<benchmarks>/regions/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            drfs=lookup(dpath="drfs", within=config),
            methods=lookup(dpath="methods", within=config),
        message:
            "{wildcards.subject}: measure the uptake by region"
        script:
            "../scripts/measure_regions.py"

    use rule merge_metrics as merge_regions with:
        input:
            tables=expand("<results>/metrics/{subject}_regions.csv", subject=subjects_of("test")),
        output:
            table="<results>/metrics/regions.csv",
        log:
            "<logs>/merge_regions.log",
        benchmark:
            "<benchmarks>/merge_regions.tsv"
        params:
            row=["subject", "drf", "method", "target", "region"],
        message:
            "Merge the uptake by region"

# All methods' images of a subject against its normal dose, whose features are computed once.
rule evaluate:
    input:
        images=made_of(settings.methods, CONTROLS, settings.drfs),
        lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
        reference=f"{REFERENCE}.nii.gz",
        mask=f"{HEAD}.nii.gz",
        facts=f"{FACTS}.json",
        code=code_of("metrics", "evaluate"),
    output:
        tables=expand(
            "<results>/metrics/{subject}_{method}.csv",
            method=[*settings.methods, *CONTROLS],
            allow_missing=True,
        ),
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
        methods=[*settings.methods, *CONTROLS],
        metrics=lookup(dpath="metrics", within=config),
        in_suv=cohort.in_suv(subjects.values()),
    message:
        "{wildcards.subject}: evaluate {params.methods}"
    script:
        "../scripts/evaluate.py"


rule merge_metrics:
    input:
        tables=expand(
            "<results>/metrics/{subject}_{method}.csv",
            subject=subjects_of("test"),
            method=[*settings.methods, *CONTROLS],
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

    rule oracle:
        input:
            lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
            reference=f"{REFERENCE}.nii.gz",
            mask=f"{HEAD}.nii.gz",
            truth=MATCHED_TRUTH,
            code=code_of("metrics", "evaluate", "controls"),
        output:
            images=expand(ORACLE, drf=settings.drfs, allow_missing=True),
        log:
            "<logs>/oracle/{subject}.log",
        benchmark:
            "<benchmarks>/oracle/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        message:
            "{wildcards.subject}: blend the low doses with the truth"
        script:
            "../scripts/make_oracle.py"

    rule painted:
        input:
            activities=expand(TRUTH, subject=subjects_of("train")),
            labels=expand(f"{LABELS}.nii.gz", subject=subjects_of("train")),
            own_labels=f"{LABELS}.nii.gz",
            reference=f"{REFERENCE}.nii.gz",
            mask=f"{HEAD}.nii.gz",
            truth=MATCHED_TRUTH,
            sidecar="<results>/metrics/{subject}_truth.json",
            code=code_of("metrics", "evaluate", "controls"),
        output:
            image=PAINTED,
        log:
            "<logs>/painted/{subject}.log",
        benchmark:
            "<benchmarks>/painted/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        message:
            "{wildcards.subject}: paint the training subjects' mean uptake into its labels"
        script:
            "../scripts/make_painted.py"

    use rule evaluate as evaluate_truth with:
        input:
            images=made_of(settings.methods, CONTROLS_OF_TRUTH, settings.drfs),
            lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
            reference=MATCHED_TRUTH,
            mask=f"{HEAD}.nii.gz",
            facts=f"{FACTS}.json",
            code=code_of("metrics", "evaluate"),
        output:
            tables=expand(
                "<results>/metrics/{subject}_{method}_truth.csv",
                method=[*settings.methods, *CONTROLS_OF_TRUTH],
                allow_missing=True,
            ),
        log:
            "<logs>/evaluate_truth/{subject}.log",
        benchmark:
            "<benchmarks>/evaluate_truth/{subject}.tsv"
        params:
            drfs=lookup(dpath="drfs", within=config),
            methods=[*settings.methods, *CONTROLS_OF_TRUTH],
            metrics=lookup(dpath="metrics", within=config),
            in_suv=cohort.in_suv(subjects.values()),
        message:
            "{wildcards.subject}: evaluate {params.methods} against the truth"

    use rule merge_metrics as merge_truth with:
        input:
            tables=expand(
                "<results>/metrics/{subject}_{method}_truth.csv",
                subject=subjects_of("test"),
                method=[*settings.methods, *CONTROLS_OF_TRUTH],
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
            images=made_of(COMPARED_METHODS, [], settings.drfs),
            normal=f"{REFERENCE}.nii.gz",
            mask=f"{HEAD}.nii.gz",
            labels=f"{LABELS}.nii.gz",
            matched=MATCHED_TRUTH,
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
            methods=COMPARED_METHODS,
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

    rule lesions:
        input:
            images=made_of(settings.methods, PAINTED_THERE, settings.drfs),
            normal=f"{REFERENCE}.nii.gz",
            mask=f"{HEAD}.nii.gz",
            activity=TRUTH,
            labels=f"{LABELS}.nii.gz",
            spots=f"{MR_TO_PET}.json",
            matched=MATCHED_TRUTH,
            sidecar="<results>/metrics/{subject}_truth.json",
            code=code_of("metrics", "evaluate", "lesions"),
        output:
            recovery="<results>/metrics/{subject}_lesions.csv",
            false="<results>/metrics/{subject}_false_spots.csv",
        log:
            "<logs>/lesions/{subject}.log",
        benchmark:
            "<benchmarks>/lesions/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            drfs=lookup(dpath="drfs", within=config),
            methods=[*settings.methods, *PAINTED_THERE],
        message:
            "{wildcards.subject}: measure true and false spots"
        script:
            "../scripts/measure_lesions.py"

    use rule merge_metrics as merge_lesions with:
        input:
            tables=expand("<results>/metrics/{subject}_lesions.csv", subject=subjects_of("test")),
        output:
            table="<results>/metrics/lesions.csv",
        log:
            "<logs>/merge_lesions.log",
        benchmark:
            "<benchmarks>/merge_lesions.tsv"
        params:
            row=["subject", "drf", "method", "spot"],
        message:
            "Merge the recovery of spots"

    use rule merge_metrics as merge_false_spots with:
        input:
            tables=expand("<results>/metrics/{subject}_false_spots.csv", subject=subjects_of("test")),
        output:
            table="<results>/metrics/false_spots.csv",
        log:
            "<logs>/merge_false_spots.log",
        benchmark:
            "<benchmarks>/merge_false_spots.tsv"
        message:
            "Merge the numbers of false spots"


# Measured scans: the normal dose beside the vendor's image of it.
if WITH_VENDOR:

    rule compare_vendor:
        input:
            pet=f"{reconstructed(1)}.nii.gz",
            vendor=files_of("vendor"),
            listmode=listmode_with_scanner,
            code=code_of("metrics", "vendor"),
        output:
            table="<results>/metrics/{subject}_vendor.csv",
        log:
            "<logs>/compare_vendor/{subject}.log",
        benchmark:
            "<benchmarks>/compare_vendor/{subject}.tsv"
        wildcard_constraints:
            subject=among(WITH_VENDOR),
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        message:
            "{wildcards.subject}: compare the normal dose with the vendor's image"
        script:
            "../scripts/compare_vendor.py"

    use rule merge_metrics as merge_vendor with:
        input:
            tables=expand("<results>/metrics/{subject}_vendor.csv", subject=WITH_VENDOR),
        output:
            table="<results>/metrics/vendor.csv",
        log:
            "<logs>/merge_vendor.log",
        benchmark:
            "<benchmarks>/merge_vendor.tsv"
        params:
            row=["subject", "drf", "method", "x_mm", "y_mm", "z_mm"],
        message:
            "Merge the comparisons with the vendor's images"

# Every method's images against the normal dose, one table a subject and method, then all in one.
rule evaluate:
    input:
        images=expand(f"{DENOISED}.nii.gz", drf=settings.drfs, allow_missing=True),
        reference=f"{REFERENCE}.nii.gz",
        mask=f"{ANAT}_space-pet_desc-head_mask.nii.gz",
        subject=f"{RAW}_subject.json",
        code=code_of("metrics"),
    output:
        table="<results>/metrics/{subject}_{method}.csv",
    log:
        "<logs>/evaluate/{subject}_{method}.log",
    benchmark:
        "<benchmarks>/evaluate/{subject}_{method}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        drfs=lookup(dpath="drfs", within=config),
        in_suv=cohort.in_suv(subjects.values()),
    message:
        "{wildcards.subject}: evaluate {wildcards.method}"
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
        mem_mb=500,
        runtime=5,
    message:
        "Merge the metrics"
    script:
        "../scripts/merge_metrics.py"

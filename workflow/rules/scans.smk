# Scans that are denoised as they are, whatever their dose: each on its own grid, in its own unit.
rule denoise_scan:
    input:
        model=model_of_plain,
        weights=lambda wildcards: [] if models else weights_of(wildcards),
        lows=lambda wildcards: local_files(PLAIN[wildcards.scan].pet),
        sidecars=lambda wildcards: local_files(*bids.sidecars_of(PLAIN[wildcards.scan].pet)),
        mr=lambda wildcards: local_file(
            PLAIN[wildcards.scan].t1w if method(wildcards.method).wants_mr else None
        ),
    output:
        images=[f"{PLAIN_IMAGE}.nii.gz"],
        sidecars_out=f"{PLAIN_IMAGE}.json",
    log:
        "<logs>/denoise_scan/{folder}/{scan}_{method}.log",
    benchmark:
        "<benchmarks>/denoise_scan/{folder}/{scan}_{method}.tsv"
    wildcard_constraints:
        folder="sub-[^/]+(/ses-[^/]+)?",
        scan=among(PLAIN),
        method=among(set(settings.fitted_methods) - set(STDS_OF_PLAIN)),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=0,
    params:
        units=units_of_plain,
        known=lambda wildcards: PLAIN[wildcards.scan].known(
            settings.cohort.bids, method(wildcards.method).wants_mr
        ),
    message:
        "{wildcards.scan}: denoise by {wildcards.method}"
    script:
        "../scripts/predict.py"


use rule denoise_scan as denoise_scan_with_std with:
    output:
        images=[f"{PLAIN_IMAGE}.nii.gz"],
        sidecars_out=f"{PLAIN_IMAGE}.json",
        stds=[f"{PLAIN_STD}.nii.gz"],
        std_sidecars=f"{PLAIN_STD}.json",
    wildcard_constraints:
        folder="sub-[^/]+(/ses-[^/]+)?",
        scan=among(PLAIN),
        method=among(STDS_OF_PLAIN),


# One page for each of these scans.
rule scan_page_plain:
    input:
        code=code_of("report", "page"),
        low=lambda wildcards: local_file(PLAIN[wildcards.scan].pet),
        image=lambda wildcards: of_plain(PLAIN_IMAGE, ".nii.gz", wildcards),
        sidecar=lambda wildcards: of_plain(PLAIN_IMAGE, ".json", wildcards),
        std=lambda wildcards: (
            of_plain(PLAIN_STD, ".nii.gz", wildcards) if wildcards.method in STDS_OF_PLAIN else []
        ),
        mr=lambda wildcards: local_file(
            PLAIN[wildcards.scan].t1w if method(wildcards.method).wants_mr else None
        ),
        labels=lambda wildcards: next(iter(of_dynamic(REGIONS_OF, ".nii.gz", wildcards, [""])), []),
        curves=lambda wildcards: of_dynamic(CURVES_OF, ".tsv", wildcards),
        bindings=lambda wildcards: of_dynamic(BINDING_OF, ".tsv", wildcards),
    output:
        page=PLAIN_PAGE,
    log:
        "<logs>/scan_page/{scan}_{method}.log",
    benchmark:
        "<benchmarks>/scan_page/{scan}_{method}.tsv"
    wildcard_constraints:
        scan=among(PLAIN),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(10),
    params:
        units=units_of_plain,
    message:
        "{wildcards.scan}: write its page"
    script:
        "../scripts/scan_page.py"


# A paragraph for a paper about what was done with these scans.
rule describe_methods:
    input:
        sidecars=images_of_plain(".json"),
    output:
        text=f"{DERIVATIVES}/csrd_methods.md",
    log:
        "<logs>/describe_methods.log",
    benchmark:
        "<benchmarks>/describe_methods.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        former=settings.cohort.as_is,
    message:
        "Describe the methods"
    script:
        "../scripts/describe_methods.py"


# All scans of the derivatives in one table, of former runs too.
rule list_scans:
    input:
        sidecars=lambda wildcards: sorted(map(str, Path(DERIVATIVES).glob("sub-*/**/pet/*_pet.json"))),
    output:
        table=f"{DERIVATIVES}/csrd_scans.tsv",
    log:
        "<logs>/list_scans.log",
    benchmark:
        "<benchmarks>/list_scans.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    message:
        "List the scans"
    script:
        "../scripts/list_scans.py"

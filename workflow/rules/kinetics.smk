# Curves and binding potentials of dynamic scans that are denoised as they are, before and after; test and retest.
FOLDER = "sub-[^/]+(/ses-[^/]+)?"


rule find_regions:
    input:
        pet=lambda wildcards: local_file(PLAIN[wildcards.scan].pet),
        sidecars=lambda wildcards: local_files(*bids.sidecars_of(PLAIN[wildcards.scan].pet)),
        labels=lambda wildcards: local_file(LABELS_OF[wildcards.scan].labels),
        mr=lambda wildcards: local_file(LABELS_OF[wildcards.scan].mr),
    output:
        regions=f"{REGIONS_OF}.nii.gz",
        names=f"{REGIONS_OF}.tsv",
        sidecar=f"{REGIONS_OF}.json",
    log:
        "<logs>/find_regions/{folder}/{scan}.log",
    benchmark:
        "<benchmarks>/find_regions/{folder}/{scan}.tsv"
    wildcard_constraints:
        folder=FOLDER,
        scan=among(LABELS_OF),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        units=lambda wildcards: units_of_plain(wildcards),
        seed=lookup(dpath="seed", within=config),
    message:
        "{wildcards.scan}: find its regions"
    script:
        "../scripts/find_regions.py"


# Before denoising, desc-input, and after.
rule tacs:
    input:
        pet=lambda wildcards: (
            local_file(PLAIN[wildcards.scan].pet)
            if wildcards.method == "input"
            else of_plain(PLAIN_IMAGE, ".nii.gz", wildcards)
        ),
        sidecars=lambda wildcards: (
            local_files(*bids.sidecars_of(PLAIN[wildcards.scan].pet))
            if wildcards.method == "input"
            else of_plain(PLAIN_IMAGE, ".json", wildcards)
        ),
        labels=f"{REGIONS_OF}.nii.gz",
        names=f"{REGIONS_OF}.tsv",
    output:
        table=f"{CURVES_OF}.tsv",
        sidecar=f"{CURVES_OF}.json",
    log:
        "<logs>/tacs/{folder}/{scan}_{method}.log",
    benchmark:
        "<benchmarks>/tacs/{folder}/{scan}_{method}.tsv"
    wildcard_constraints:
        folder=FOLDER,
        scan=among(LABELS_OF),
        method=among(["input", *settings.fitted_methods]),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        units=lambda wildcards: units_of_plain(wildcards),
    message:
        "{wildcards.scan}: curves of {wildcards.method} by region"
    script:
        "../scripts/tacs.py"


rule kinetics:
    input:
        curves=f"{CURVES_OF}.tsv",
        facts=f"{CURVES_OF}.json",
    output:
        table=f"{BINDING_OF}.tsv",
        sidecar=f"{BINDING_OF}.json",
    log:
        "<logs>/kinetics/{folder}/{scan}_{method}.log",
    benchmark:
        "<benchmarks>/kinetics/{folder}/{scan}_{method}.tsv"
    wildcard_constraints:
        folder=FOLDER,
        scan=among(LABELS_OF),
        method=among(["input", *settings.fitted_methods]),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        reference=settings.kinetics.reference or USUAL_REFERENCE,
        model=lookup(dpath="kinetics/model", within=config),
        k2prime=lookup(dpath="kinetics/k2prime", within=config),
        t_star=lookup(dpath="kinetics/t_star", within=config),
        exclude_frames=lookup(dpath="kinetics/exclude_frames", within=config),
    message:
        "{wildcards.scan}: binding potentials of {wildcards.method}"
    script:
        "../scripts/kinetics.py"


# All scans of the derivatives, of former runs too.
rule retest:
    input:
        code=code_of("kinetics", "retest"),
        tables=lambda wildcards: sorted(map(str, Path(DERIVATIVES).glob("sub-*/**/pet/*_kinpar.tsv"))),
    output:
        values=f"{DERIVATIVES}/csrd_bpnd.tsv",
        agreements=f"{DERIVATIVES}/csrd_retest.tsv",
        sidecar=f"{DERIVATIVES}/csrd_retest.json",
        page_file=f"{DERIVATIVES}/csrd_retest.html",
    log:
        "<logs>/retest.log",
    benchmark:
        "<benchmarks>/retest.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        sessions=settings.cohort.select.session if len(settings.cohort.select.session) == 2 else (),
    message:
        "Compare test with retest"
    script:
        "../scripts/retest.py"

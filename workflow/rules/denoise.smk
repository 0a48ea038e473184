# One method on all doses of one subject; the low dose itself comes from align.
rule denoise:
    input:
        model="<results>/models/{method}/model.json",
        weights=weights_of,
        lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
        sidecars=expand(f"{LOW}.json", drf=settings.drfs, allow_missing=True),
        mr=f"{MR}.nii.gz",
    output:
        images=expand(f"{DENOISED}.nii.gz", drf=settings.drfs, allow_missing=True),
        sidecars=expand(f"{DENOISED}.json", drf=settings.drfs, allow_missing=True),
    log:
        "<logs>/denoise/{subject}_{method}.log",
    benchmark:
        "<benchmarks>/denoise/{subject}_{method}.tsv"
    wildcard_constraints:
        subject=among(COMPARED_SUBJECTS),
        method=among(set(settings.fitted_methods) - set(settings.methods_with_std)),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,  # a profile gives it
    params:
        drfs=lookup(dpath="drfs", within=config),
    message:
        "{wildcards.subject}: denoise by {wildcards.method}"
    script:
        "../scripts/predict.py"


# The same for a method that also predicts a standard deviation.
use rule denoise as denoise_with_std with:
    output:
        images=expand(f"{DENOISED}.nii.gz", drf=settings.drfs, allow_missing=True),
        sidecars=expand(f"{DENOISED}.json", drf=settings.drfs, allow_missing=True),
        stds=expand(f"{STD}.nii.gz", drf=settings.drfs, allow_missing=True),
        std_sidecars=expand(f"{STD}.json", drf=settings.drfs, allow_missing=True),
    wildcard_constraints:
        subject=among(COMPARED_SUBJECTS),
        method=among(settings.methods_with_std),


# A low dose without a normal dose, on its own grid.
rule denoise_alone:
    input:
        model="<results>/models/{method}/model.json",
        weights=weights_of,
        lows=[f"{RECONSTRUCTED}.nii.gz"],
        sidecar=f"{RECONSTRUCTED}.json",
        mr=branch(
            lambda wildcards: wildcards.subject in ALONE_WITH_MR,
            then=f"{MR}.nii.gz",
        ),
    output:
        images=[f"{DENOISED}.nii.gz"],
        sidecars=f"{DENOISED}.json",
    log:
        "<logs>/denoise/{subject}_drf-{drf}_{method}.log",
    benchmark:
        "<benchmarks>/denoise/{subject}_drf-{drf}_{method}.tsv"
    wildcard_constraints:
        subject=among(ALONE),
        method=among(set(settings.fitted_methods) - set(settings.methods_with_std)),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,
    message:
        "{wildcards.subject}: denoise 1/{wildcards.drf} of the dose by {wildcards.method}"
    script:
        "../scripts/predict.py"


use rule denoise_alone as denoise_alone_with_std with:
    output:
        images=[f"{DENOISED}.nii.gz"],
        sidecars=f"{DENOISED}.json",
        stds=[f"{STD}.nii.gz"],
        std_sidecars=f"{STD}.json",
    wildcard_constraints:
        subject=among(ALONE),
        method=among(settings.methods_with_std),

# One method on all doses of one subject; the low dose itself comes from align.
rule denoise:
    input:
        model="<results>/models/{method}/model.json",
        lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
        sidecars=expand(f"{LOW}.json", drf=settings.drfs, allow_missing=True),
        mr=f"{ANAT}_space-pet_desc-preproc_T1w.nii.gz",
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
        "../scripts/denoise.py"


# The same for a method that also says how sure it is.
use rule denoise as denoise_with_spread with:
    output:
        images=expand(f"{DENOISED}.nii.gz", drf=settings.drfs, allow_missing=True),
        sidecars=expand(f"{DENOISED}.json", drf=settings.drfs, allow_missing=True),
        spreads=expand(f"{SPREAD}.nii.gz", drf=settings.drfs, allow_missing=True),
        spread_sidecars=expand(f"{SPREAD}.json", drf=settings.drfs, allow_missing=True),
    wildcard_constraints:
        subject=among(COMPARED_SUBJECTS),
        method=among(settings.methods_with_std),


# A low dose that has no normal one beside it, on its own grid.
rule denoise_alone:
    input:
        model="<results>/models/{method}/model.json",
        low=f"{RECON}_drf-{{drf}}_pet.nii.gz",
        sidecar=f"{RECON}_drf-{{drf}}_pet.json",
        mr=branch(
            lambda wildcards: wildcards.subject in ALONE_WITH_MR,
            then=f"{ANAT}_space-pet_desc-preproc_T1w.nii.gz",
        ),
    output:
        image=f"{DENOISED}.nii.gz",
        sidecar=f"{DENOISED}.json",
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
        "../scripts/denoise_alone.py"


use rule denoise_alone as denoise_alone_with_spread with:
    output:
        image=f"{DENOISED}.nii.gz",
        sidecar=f"{DENOISED}.json",
        spread=f"{SPREAD}.nii.gz",
        spread_sidecar=f"{SPREAD}.json",
    wildcard_constraints:
        subject=among(ALONE),
        method=among(settings.methods_with_std),

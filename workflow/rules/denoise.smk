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
        method="|".join(set(settings.fitted_methods) - set(settings.methods_with_spread)) or NO_METHOD,
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
        method="|".join(settings.methods_with_spread) or NO_METHOD,

# Further thinnings of a scan, draw by draw, and their images: more pairs of each training scan (train_thinnings,
# from draw 2 on; the derivatives have another thinning), and those of `make noise`.
use rule thin as thin_again with:
    output:
        listmode=temp(f"{DRAWN_LISTMODE}.{{suffix}}"),
        header=temp(f"{DRAWN_LISTMODE}.{{suffix}}.hdr"),
    log:
        "<logs>/thin_again/{subject}_draw-{draw}_drf-{drf}_{suffix}.log",
    benchmark:
        "<benchmarks>/thin_again/{subject}_draw-{draw}_drf-{drf}_{suffix}.tsv"
    params:
        seed=lambda wildcards: key64(settings.seed, "draw", wildcards.draw),
        nested=False,
    message:
        "{wildcards.subject}: thin to 1/{wildcards.drf} of the dose, draw {wildcards.draw}"


use rule thin_again as thin_again_petsird with:
    input:
        listmode=f"{LISTMODE}.petsird",
    output:
        listmode=temp(f"{DRAWN_LISTMODE}.petsird"),
    log:
        "<logs>/thin_again/{subject}_draw-{draw}_drf-{drf}_petsird.log",
    benchmark:
        "<benchmarks>/thin_again/{subject}_draw-{draw}_drf-{drf}_petsird.tsv"


use rule reconstruct as reconstruct_again with:
    input:
        listmode=lambda wildcards: f"{DRAWN_LISTMODE}.{subjects[wildcards.subject].suffix}",
        header=header_of_draw,
        mumap=f"{MUMAP}.nii.gz" if MODELLED else files_of("mumap"),
        normalisation=normalisation_of if MODELLED else files_of("normalisation"),
        sensitivity=rules.subject_sensitivity.output.sensitivity if MODELLED else [],
        scatter=SCATTER_OF_SCAN,
    output:
        pet=temp(f"{DRAWN}.nii.gz"),
        sidecar=temp(f"{DRAWN}.json"),
    log:
        "<logs>/reconstruct_again/{subject}_draw-{draw}_drf-{drf}.log",
    benchmark:
        "<benchmarks>/reconstruct_again/{subject}_draw-{draw}_drf-{drf}.tsv"
    message:
        "{wildcards.subject}: reconstruct 1/{wildcards.drf} of the dose, draw {wildcards.draw}"


rule crop_again:
    input:
        pet=f"{DRAWN}.nii.gz",
        sidecar=f"{DRAWN}.json",
        reference=f"{REFERENCE}.nii.gz",
    output:
        pet=f"{DRAWN_LOW}.nii.gz",
        sidecar=f"{DRAWN_LOW}.json",
    log:
        "<logs>/crop_again/{subject}_draw-{draw}_drf-{drf}.log",
    benchmark:
        "<benchmarks>/crop_again/{subject}_draw-{draw}_drf-{drf}.tsv"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    message:
        "{wildcards.subject}: crop draw {wildcards.draw} to the common grid"
    script:
        "../scripts/crop_like.py"

# MR and PET on one grid: registration, cropping, the head's mask, a picture to judge them by.
rule align:
    input:
        normal="<results>/recon/{subject}/{subject}_drf-1_pet.nii.gz",
        lows=expand(f"{RECON}_drf-{{drf}}_pet.nii.gz", drf=settings.drfs, allow_missing=True),
        sidecars=expand(
            f"{RECON}_drf-{{drf}}_pet.json",
            drf=[1, *settings.drfs],
            allow_missing=True,
        ),
        t1w=f"{RAW}_T1w.nii.gz",
        subject=f"{RAW}_subject.json",
    output:
        reference=f"{REFERENCE}.nii.gz",
        lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
        t1w=f"{ANAT}_space-pet_desc-preproc_T1w.nii.gz",
        head=f"{ANAT}_space-pet_desc-head_mask.nii.gz",
        transform=f"{ANAT}_from-T1w_to-pet_xfm.json",
        picture=report(
            "<results>/figures/registration/{subject}.png",
            caption="../report/registration.rst",
            category="Registration",
            labels={"subject": "{subject}"},
        ),
        sidecars=[
            f"{REFERENCE}.json",
            *expand(f"{LOW}.json", drf=settings.drfs, allow_missing=True),
            f"{ANAT}_space-pet_desc-preproc_T1w.json",
            f"{ANAT}_space-pet_desc-head_mask.json",
        ],
    log:
        "<logs>/align/{subject}.log",
    benchmark:
        "<benchmarks>/align/{subject}.tsv"
    wildcard_constraints:
        subject=among(COMPARED_SUBJECTS),
    threads: 1  # the registration depends on the number of threads
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        align=lookup(dpath="align", within=config),
        seed=lookup(dpath="seed", within=config),
        drfs=lookup(dpath="drfs", within=config),
    message:
        "{wildcards.subject}: bring MR and PET onto one grid"
    script:
        "../scripts/align.py"


# The same for a subject of whom there is a low dose alone: the PET stays on its own grid.
rule align_alone:
    input:
        low=lambda wildcards: f"{RECON}_drf-{next(iter(ALONE[wildcards.subject].lows))}_pet.nii.gz",
        t1w=f"{RAW}_T1w.nii.gz",
    output:
        t1w=f"{ANAT}_space-pet_desc-preproc_T1w.nii.gz",
        sidecar=f"{ANAT}_space-pet_desc-preproc_T1w.json",
        transform=f"{ANAT}_from-T1w_to-pet_xfm.json",
        picture=report(
            "<results>/figures/registration/{subject}.png",
            caption="../report/registration.rst",
            category="Registration",
            labels={"subject": "{subject}"},
        ),
    log:
        "<logs>/align/{subject}.log",
    benchmark:
        "<benchmarks>/align/{subject}.tsv"
    wildcard_constraints:
        subject=among(ALONE),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        seed=lookup(dpath="seed", within=config),
    message:
        "{wildcards.subject}: bring the MR onto the PET's grid"
    script:
        "../scripts/align_alone.py"


rule describe_derivatives:
    input:
        sidecars=expand(f"{REFERENCE}.json", subject=COMPARED_SUBJECTS) + images_of_alone(".json"),
    output:
        description="<results>/derivatives/csrd/dataset_description.json",
        readme="<results>/derivatives/csrd/README",
    log:
        "<logs>/describe_derivatives.log",
    benchmark:
        "<benchmarks>/describe_derivatives.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    message:
        "Describe the derivatives"
    script:
        "../scripts/describe_derivatives.py"

# MR and PET on one grid: registration, cropping, head mask, and a picture to check the registration.
rule align:
    input:
        normal=f"{reconstructed(1)}.nii.gz",
        lows=expand(f"{RECONSTRUCTED}.nii.gz", drf=settings.drfs, allow_missing=True),
        sidecars=expand(
            f"{RECONSTRUCTED}.json",
            drf=[1, *settings.drfs],
            allow_missing=True,
        ),
        t1w=f"{T1W}.nii.gz",
        facts=f"{FACTS}.json",
    output:
        reference=f"{REFERENCE}.nii.gz",
        lows=expand(f"{LOW}.nii.gz", drf=settings.drfs, allow_missing=True),
        t1w=f"{MR}.nii.gz",
        head=f"{HEAD}.nii.gz",
        transform=TRANSFORM,
        picture=report(
            "<results>/figures/registration/{subject}.png",
            caption="../report/registration.rst",
            category="Registration",
            labels={"subject": "{subject}"},
        ),
        sidecars=[
            f"{REFERENCE}.json",
            *expand(f"{LOW}.json", drf=settings.drfs, allow_missing=True),
            f"{MR}.json",
            f"{HEAD}.json",
        ],
    log:
        "<logs>/align/{subject}.log",
    benchmark:
        "<benchmarks>/align/{subject}.tsv"
    wildcard_constraints:
        subject=among(COMPARED_SUBJECTS),
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        align=lookup(dpath="align", within=config),
        seed=lookup(dpath="seed", within=config),
        drfs=lookup(dpath="drfs", within=config),
    message:
        "{wildcards.subject}: align MR and PET on one grid"
    script:
        "../scripts/align.py"


# The same for a subject with only a low dose: the PET stays on its own grid.
rule align_alone:
    input:
        low=lambda wildcards: f"{reconstructed(next(iter(ALONE[wildcards.subject].lows)))}.nii.gz",
        t1w=f"{T1W}.nii.gz",
    output:
        t1w=f"{MR}.nii.gz",
        sidecar=f"{MR}.json",
        transform=TRANSFORM,
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
        "{wildcards.subject}: align the MR to the PET's grid"
    script:
        "../scripts/align_mr.py"


rule describe_derivatives:
    input:
        sidecars=expand(f"{REFERENCE}.json", subject=COMPARED_SUBJECTS) + images_of_alone(".json"),
    output:
        description=f"{DERIVATIVES}/dataset_description.json",
        readme=f"{DERIVATIVES}/README",
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

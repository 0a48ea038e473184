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


if SEVERAL:

    # Participants with several scans: the same files under BIDS names, with session and run where they belong.
    rule name_derivatives:
        input:
            files=[
                f"{ALIGNED}/{path}"
                for path in derivatives_by(lambda subject: bids.Scan(subject.id, tracer=TRACER))
            ],
        output:
            named=[
                f"{DERIVATIVES}/{path}"
                for path in derivatives_by(
                    lambda subject: bids.Scan(
                        subject.participant, session=subject.session, run=subject.run, tracer=TRACER
                    )
                )
            ],
        log:
            "<logs>/name_derivatives.log",
        benchmark:
            "<benchmarks>/name_derivatives.tsv"
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=growing(10),
        message:
            "Name the derivatives by session and run"
        script:
            "../scripts/name_derivatives.py"


rule describe_derivatives:
    input:
        sidecars=(
            [
                path
                for path in rules.name_derivatives.output
                if path.endswith("_pet.json") and "Std_" not in path
            ]
            if SEVERAL
            else expand(f"{REFERENCE}.json", subject=COMPARED_SUBJECTS) + images_of_alone(".json")
        )
        + images_of_plain(".json"),
    output:
        description=f"{DERIVATIVES}/dataset_description.json",
        readme=f"{DERIVATIVES}/README",
        ignore=f"{DERIVATIVES}/.bidsignore",
    log:
        "<logs>/describe_derivatives.log",
    benchmark:
        "<benchmarks>/describe_derivatives.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        raw=settings.cohort.bids if settings.cohort.as_is else None,
    message:
        "Describe the derivatives"
    script:
        "../scripts/describe_derivatives.py"

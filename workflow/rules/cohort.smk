# The subjects: simulated, or the user's own, imported.
if SIMULATED:

    rule simulate_anatomy:
        input:
            tracer=local(settings.cohort.tracer),
            t1w=files_of("t1w"),
        output:
            mr=f"{T1W}.nii.gz",
            mumap=f"{MUMAP}.nii.gz",
            facts=f"{FACTS}.json",
            activity=f"{ACTIVITY}.nii.gz",
            labels=f"{LABELS}.nii.gz",
            brainmask=f"{BRAIN_MASK}.nii.gz",
            mr_to_pet=f"{MR_TO_PET}.json",
        log:
            "<logs>/simulate_anatomy/{subject}.log",
        benchmark:
            "<benchmarks>/simulate_anatomy/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(15),
        params:
            seed=lookup(dpath="seed", within=config),
            voxel_mm=lookup(dpath="acquisition/phantom_voxel_mm", within=config),
            start_s=lookup(dpath="acquisition/start_s", within=config),
            facts=facts_of,
            tested=is_tested,
            frames=lookup(dpath="acquisition/frames", within=config),
        message:
            "{wildcards.subject}: simulate anatomy, MR and uptake"
        script:
            "../scripts/simulate_anatomy.py"

    rule acquire:
        input:
            tracer=local(settings.cohort.tracer),
            activity=f"{ACTIVITY}.nii.gz",
            mumap=f"{MUMAP}.nii.gz",
            labels=f"{LABELS}.nii.gz" if settings.acquisition.frames else [],
        output:
            listmode=f"{LISTMODE}.l64",
            header=f"{LISTMODE}.l64.hdr",
            normalisation=f"{NORMALISATION}.npy",
        log:
            "<logs>/acquire/{subject}.log",
        benchmark:
            "<benchmarks>/acquire/{subject}.tsv"
        threads: 4
        resources:
            mem_mb=growing(4000),
            runtime=growing(720),
        params:
            seed=lookup(dpath="seed", within=config),
            duration_s=lookup(dpath="acquisition/duration_s", within=config),
            randoms_fraction=lookup(dpath="acquisition/randoms_fraction", within=config),
            scatter=lookup(dpath="acquisition/scatter", within=config),
            device=lookup(dpath="acquisition/device", within=config),
            frames=lookup(dpath="acquisition/frames", within=config),
        message:
            "{wildcards.subject}: scan with the virtual HRRT"
        script:
            "../scripts/simulate_scan.py"

else:

    rule import_listmode:
        input:
            listmode=files_of("listmode"),
            header=files_of("header"),
        output:
            listmode=f"{LISTMODE}.{{suffix}}",
            header=f"{LISTMODE}.{{suffix}}.hdr",
        log:
            "<logs>/import_listmode/{subject}_{suffix}.log",
        benchmark:
            "<benchmarks>/import_listmode/{subject}_{suffix}.tsv"
        wildcard_constraints:
            suffix=WITH_HEADER,
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        message:
            "{wildcards.subject}: import the list-mode file"
        script:
            "../scripts/import_listmode.py"

    use rule import_listmode as import_petsird with:
        input:
            listmode=files_of("listmode"),
        output:
            listmode=f"{LISTMODE}.petsird",
        log:
            "<logs>/import_listmode/{subject}_petsird.log",
        benchmark:
            "<benchmarks>/import_listmode/{subject}_petsird.tsv"

    rule import_t1w:
        input:
            t1w=files_of("t1w"),
        output:
            t1w=f"{T1W}.nii.gz",
            facts=f"{FACTS}.json",
        log:
            "<logs>/import_t1w/{subject}.log",
        benchmark:
            "<benchmarks>/import_t1w/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            facts=facts_of,
        message:
            "{wildcards.subject}: import the T1w image"
        script:
            "../scripts/import_t1w.py"

    rule import_images:
        input:
            normal=files_of("pet"),
            lows=lambda wildcards: [
                local_file(subjects[wildcards.subject].lows[drf]) for drf in settings.drfs
            ],
        output:
            images=expand(f"{RECONSTRUCTED}.nii.gz", drf=[1, *settings.drfs], allow_missing=True),
            sidecars=expand(f"{RECONSTRUCTED}.json", drf=[1, *settings.drfs], allow_missing=True),
        log:
            "<logs>/import_images/{subject}.log",
        benchmark:
            "<benchmarks>/import_images/{subject}.tsv"
        wildcard_constraints:
            subject=among(IMAGE_SUBJECTS),
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(10),
        params:
            drfs=lookup(dpath="drfs", within=config),
            doses=[1, *settings.drfs],
            unit=lookup(dpath="cohort/units", within=config),
        message:
            "{wildcards.subject}: import the reconstructed images"
        script:
            "../scripts/import_images.py"

    use rule import_images as import_low_dose with:
        input:
            lows=lambda wildcards: local_files(ALONE[wildcards.subject].lows[int(wildcards.drf)]),
        output:
            images=[f"{RECONSTRUCTED}.nii.gz"],
            sidecars=f"{RECONSTRUCTED}.json",
        log:
            "<logs>/import_images/{subject}_drf-{drf}.log",
        benchmark:
            "<benchmarks>/import_images/{subject}_drf-{drf}.tsv"
        wildcard_constraints:
            subject=among(ALONE),
        params:
            drfs=lambda wildcards: [int(wildcards.drf)],
            doses=lambda wildcards: [int(wildcards.drf)],
            unit=lookup(dpath="cohort/units", within=config),

    rule import_corrections:
        input:
            mumap=files_of("mumap"),
            normalisation=files_of("normalisation"),
            listmode=listmode_with_scanner,
        output:
            mumap=f"{MUMAP}.nii.gz",
            normalisation=f"{NORMALISATION}.npy",
        log:
            "<logs>/import_corrections/{subject}.log",
        benchmark:
            "<benchmarks>/import_corrections/{subject}.tsv"
        wildcard_constraints:
            subject=among([name for name in subjects if name not in OWN_NORM]),
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        message:
            "{wildcards.subject}: import μ-map and normalisation"
        script:
            "../scripts/import_corrections.py"

    # The mMR's own normalisation, in the form that STIR reads too.
    use rule import_corrections as import_norm with:
        output:
            mumap=f"{MUMAP}.nii.gz",
            normalisation=f"{NORMALISATION}.n",
            header=f"{NORMALISATION}.n.hdr",
        log:
            "<logs>/import_norm/{subject}.log",
        benchmark:
            "<benchmarks>/import_norm/{subject}.tsv"
        wildcard_constraints:
            subject=among(OWN_NORM),


# Checksums of a subject's files for the record of the run: the user's own, or the simulation's.
rule hash_inputs:
    input:
        files=SIMULATED_FILES if SIMULATED else own_files,
    output:
        record=f"{INPUTS}.json",
    log:
        "<logs>/hash_inputs/{subject}.log",
    benchmark:
        "<benchmarks>/hash_inputs/{subject}.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(60),
    message:
        "{wildcards.subject}: compute the checksums of its files"
    script:
        "../scripts/hash_inputs.py"

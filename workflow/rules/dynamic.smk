# The dynamic virtual cohort: repeated scans of each subject, in time frames at every dose, and BP_ND from them
# (`make dynamic`). The packaged model denoises; filters are chosen on the validation subjects.
if SIMULATED and settings.acquisition.frames:

    use rule acquire as acquire_repeat with:
        output:
            listmode=temp(f"{AGAIN}.l64"),
            header=temp(f"{AGAIN}.l64.hdr"),
            normalisation=temp(f"{AGAIN_NORMALISATION}.npy"),
        log:
            "<logs>/acquire_repeat/{subject}_draw-{draw}.log",
        benchmark:
            "<benchmarks>/acquire_repeat/{subject}_draw-{draw}.tsv"
        params:
            seed=lookup(dpath="seed", within=config),
            duration_s=lookup(dpath="acquisition/duration_s", within=config),
            randoms_fraction=lookup(dpath="acquisition/randoms_fraction", within=config),
            scatter=lookup(dpath="acquisition/scatter", within=config),
            frames=lookup(dpath="acquisition/frames", within=config),
            repeat=lambda wildcards: int(wildcards.draw),
        message:
            "{wildcards.subject}: scan again, number {wildcards.draw}"

    use rule thin as thin_repeat with:
        input:
            listmode=f"{AGAIN}.{{suffix}}",
            header=f"{AGAIN}.{{suffix}}.hdr",
        output:
            listmode=temp(f"{AGAIN_THINNED}.{{suffix}}"),
            header=temp(f"{AGAIN_THINNED}.{{suffix}}.hdr"),
        log:
            "<logs>/thin_repeat/{subject}_draw-{draw}_drf-{drf}_{suffix}.log",
        benchmark:
            "<benchmarks>/thin_repeat/{subject}_draw-{draw}_drf-{drf}_{suffix}.tsv"
        params:
            seed=lambda wildcards: key64(settings.seed, "repeat", wildcards.draw),
            nested=False,
        message:
            "{wildcards.subject}: thin scan {wildcards.draw} to 1/{wildcards.drf} of the dose"

    use rule reconstruct_frames as reconstruct_repeat with:
        input:
            listmode=listmode_of_repeat,
            header=lambda wildcards: f"{listmode_of_repeat(wildcards)}.hdr",
            mumap=f"{MUMAP}.nii.gz",
            normalisation=normalisation_of,
            sensitivity=rules.subject_sensitivity.output.sensitivity,
            scatter=SCATTER_OF_SCAN,
        output:
            pet=f"{FRAMES_OF}.nii.gz",
            sidecar=f"{FRAMES_OF}.json",
        log:
            "<logs>/reconstruct_repeat/{subject}_draw-{draw}_drf-{drf}.log",
        benchmark:
            "<benchmarks>/reconstruct_repeat/{subject}_draw-{draw}_drf-{drf}.tsv"
        message:
            "{wildcards.subject}: reconstruct the time frames of scan {wildcards.draw}, 1/{wildcards.drf} of the dose"

    # The image of all counts of each scan: the composite of HYPR, and what the MR is registered to.
    rule mean_of_frames:
        input:
            lows=expand(f"{FRAMES_OF}.nii.gz", drf=DOSES, draw=REPEATS, allow_missing=True),
            sidecars=expand(f"{FRAMES_OF}.json", drf=DOSES, draw=REPEATS, allow_missing=True),
        output:
            images=expand(f"{MEAN_OF}.nii.gz", drf=DOSES, draw=REPEATS, allow_missing=True),
            sidecars=expand(f"{MEAN_OF}.json", drf=DOSES, draw=REPEATS, allow_missing=True),
        log:
            "<logs>/mean_of_frames/{subject}.log",
        benchmark:
            "<benchmarks>/mean_of_frames/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        message:
            "{wildcards.subject}: means of frames"
        script:
            "../scripts/mean_of_frames.py"

    use rule align_alone as align_dynamic with:
        input:
            low=expand(f"{MEAN_OF}.nii.gz", drf=1, draw=1, allow_missing=True)[0],
            t1w=f"{T1W}.nii.gz",
        output:
            t1w=f"{MR_OF_DYNAMIC}.nii.gz",
            sidecar=f"{MR_OF_DYNAMIC}.json",
            transform=f"<results>/dynamic/{SCAN.transform}.json",
            picture="<results>/figures/registration/{subject}_dynamic.png",
        log:
            "<logs>/align_dynamic/{subject}.log",
        benchmark:
            "<benchmarks>/align_dynamic/{subject}.tsv"
        wildcard_constraints:
            subject=among(subjects),

    # The packaged model on the mean of each scan,
    rule denoise_mean:
        input:
            lows=expand(f"{MEAN_OF}.nii.gz", drf=DOSES, draw=REPEATS, allow_missing=True),
            sidecars=expand(f"{MEAN_OF}.json", drf=DOSES, draw=REPEATS, allow_missing=True),
            mr=f"{MR_OF_DYNAMIC}.nii.gz",
        output:
            images=expand(f"{GUIDE_OF}.nii.gz", drf=DOSES, draw=REPEATS, allow_missing=True),
            sidecars=expand(f"{GUIDE_OF}.json", drf=DOSES, draw=REPEATS, allow_missing=True),
        log:
            "<logs>/denoise_mean/{subject}.log",
        benchmark:
            "<benchmarks>/denoise_mean/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
            gpu=0,
        params:
            model="csrd",
        message:
            "{wildcards.subject}: denoise the means of its scans"
        script:
            "../scripts/predict.py"

    # and on each frame.
    rule denoise_frames:
        input:
            lows=expand(f"{FRAMES_OF}.nii.gz", draw=REPEATS, allow_missing=True),
            sidecars=expand(f"{FRAMES_OF}.json", draw=REPEATS, allow_missing=True),
            mr=f"{MR_OF_DYNAMIC}.nii.gz",
        output:
            images=expand(f"{FRAMEWISE_OF}.nii.gz", draw=REPEATS, allow_missing=True),
            sidecars=expand(f"{FRAMEWISE_OF}.json", draw=REPEATS, allow_missing=True),
        log:
            "<logs>/denoise_frames/{subject}_drf-{drf}.log",
        benchmark:
            "<benchmarks>/denoise_frames/{subject}_drf-{drf}.tsv"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(120),
            gpu=0,
        params:
            model="csrd",
        message:
            "{wildcards.subject}: denoise the frames of 1/{wildcards.drf} of the dose"
        script:
            "../scripts/predict.py"

    rule tune_filters:
        input:
            lows=expand(f"{FRAMES_OF}.nii.gz", subject=subjects_of("validation"), drf=DOSES, draw=REPEATS),
            means=expand(f"{MEAN_OF}.nii.gz", subject=subjects_of("validation"), drf=DOSES, draw=REPEATS),
            denoised=expand(f"{GUIDE_OF}.nii.gz", subject=subjects_of("validation"), drf=DOSES, draw=REPEATS),
            activity=expand(f"{ACTIVITY}.nii.gz", subject=subjects_of("validation")),
            labels=expand(f"{LABELS}.nii.gz", subject=subjects_of("validation")),
            normals=expand(f"{MEAN_OF}.nii.gz", subject=subjects_of("validation"), drf=1, draw=1),
            tracer=local(settings.cohort.tracer),
        output:
            strengths="<results>/dynamic/strengths.json",
        log:
            "<logs>/tune_filters.log",
        benchmark:
            "<benchmarks>/tune_filters.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(60),
        params:
            drfs=DOSES,
            draws=len(REPEATS),
            kinetics=kinetics_of("reference", "exclude_frames"),
        message:
            "Choose the filters' strengths on the validation subjects"
        script:
            "../scripts/tune_filters.py"

    rule measure_binding:
        input:
            lows=expand(f"{FRAMES_OF}.nii.gz", drf=DOSES, draw=REPEATS, allow_missing=True),
            means=expand(f"{MEAN_OF}.nii.gz", drf=DOSES, draw=REPEATS, allow_missing=True),
            denoised=expand(f"{GUIDE_OF}.nii.gz", drf=DOSES, draw=REPEATS, allow_missing=True),
            framewise=expand(f"{FRAMEWISE_OF}.nii.gz", drf=DOSES, draw=REPEATS, allow_missing=True),
            activity=f"{ACTIVITY}.nii.gz",
            labels=f"{LABELS}.nii.gz",
            normal=expand(f"{MEAN_OF}.nii.gz", drf=1, draw=1, allow_missing=True)[0],
            strengths=rules.tune_filters.output.strengths,
            tracer=local(settings.cohort.tracer),
            code=code_of("kinetics", "binding"),
        output:
            binding=BINDING,
            curves=CURVES,
        log:
            "<logs>/measure_binding/{subject}.log",
        benchmark:
            "<benchmarks>/measure_binding/{subject}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(60),
        params:
            drfs=DOSES,
            draws=len(REPEATS),
            kinetics=kinetics_of("reference", "model", "k2prime", "t_star", "exclude_frames"),
        message:
            "{wildcards.subject}: measure BP_ND"
        script:
            "../scripts/measure_binding.py"

    rule dynamic:
        input:
            checked_dynamic,
            binding=expand(BINDING, subject=subjects_of("test")),
            curves=expand(CURVES, subject=subjects_of("test")),
            strengths=rules.tune_filters.output.strengths,
            code=code_of("report", "binding"),
        output:
            table="<results>/tables/binding.csv",
            pooled="<results>/tables/binding_pooled.csv",
            figure=report(
                "<results>/figures/binding.png",
                caption="../report/binding.rst",
                category="Curves",
                labels={"figure": "bias and spread of BP_ND"},
            ),
            picture=report(
                "<results>/figures/tacs.png",
                caption="../report/binding.rst",
                category="Curves",
                labels={"figure": "time-activity curves"},
            ),
            page=report(
                "<results>/dynamic.html",
                caption="../report/binding.rst",
                category="Tables",
                labels={"table": "BP_ND", "doses": "each"},
            ),
        log:
            "<logs>/dynamic.log",
        benchmark:
            "<benchmarks>/dynamic.tsv"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            title=lookup(dpath="report/title", within=config),
        message:
            "Write bias and spread of BP_ND"
        script:
            "../scripts/write_binding.py"

else:

    rule dynamic:
        input:
            checked_dynamic,
        log:
            "<logs>/dynamic.log",
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        message:
            "Simulate dynamic scans"

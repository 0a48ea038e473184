# Bias and variance: one test subject's scan thinned anew several times, and all that follows (`make noise`).
if SIMULATED:
    NOISE_SUBJECT = subjects_of("test")[0]
    DRAWS = list(range(1, settings.noise.draws + 1))
    DRAW = f"<results>/noise/{SCAN.name(draw='{draw}', drf='{drf}')}"

    wildcard_constraints:
        draw="[0-9]+",

    use rule thin as thin_again with:
        output:
            listmode=temp(f"{DRAW}_listmode.{{suffix}}"),
            header=temp(f"{DRAW}_listmode.{{suffix}}.hdr"),
        log:
            "<logs>/thin_again/{subject}_draw-{draw}_drf-{drf}_{suffix}.log",
        benchmark:
            "<benchmarks>/thin_again/{subject}_draw-{draw}_drf-{drf}_{suffix}.tsv"
        params:
            seed=lambda wildcards: key64(settings.seed, "draw", wildcards.draw),
            nested=False,
        message:
            "{wildcards.subject}: thin to 1/{wildcards.drf} of the dose, draw {wildcards.draw}"

    use rule reconstruct as reconstruct_again with:
        input:
            listmode=f"{DRAW}_listmode.l64",
            header=f"{DRAW}_listmode.l64.hdr",
            mumap=f"{RAW}_mumap.nii.gz",
            normalisation=f"{RAW}_normalisation.npy",
            sensitivity=rules.subject_sensitivity.output.sensitivity if EMBEDDED else [],
        output:
            pet=temp(f"{DRAW}_pet.nii.gz"),
            sidecar=temp(f"{DRAW}_pet.json"),
        log:
            "<logs>/reconstruct_again/{subject}_draw-{draw}_drf-{drf}.log",
        benchmark:
            "<benchmarks>/reconstruct_again/{subject}_draw-{draw}_drf-{drf}.tsv"
        message:
            "{wildcards.subject}: reconstruct 1/{wildcards.drf} of the dose, draw {wildcards.draw}"

    rule crop_again:
        input:
            pet=f"{DRAW}_pet.nii.gz",
            sidecar=f"{DRAW}_pet.json",
            reference=f"{REFERENCE}.nii.gz",
        output:
            pet=f"{DRAW}_desc-lowdose_pet.nii.gz",
            sidecar=f"{DRAW}_desc-lowdose_pet.json",
        log:
            "<logs>/crop_again/{subject}_draw-{draw}_drf-{drf}.log",
        benchmark:
            "<benchmarks>/crop_again/{subject}_draw-{draw}_drf-{drf}.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        message:
            "{wildcards.subject}: bring draw {wildcards.draw} onto the common grid"
        script:
            "../scripts/crop_like.py"

    # One job a method.
    rule denoise_again:
        input:
            model="<results>/models/{method}/model.json",
            lows=expand(f"{DRAW}_desc-lowdose_pet.nii.gz", draw=DRAWS, allow_missing=True),
            sidecars=expand(f"{DRAW}_desc-lowdose_pet.json", draw=DRAWS, allow_missing=True),
            mr=f"{MR}.nii.gz",
        output:
            images=expand(f"{DRAW}_desc-{{method}}_pet.nii.gz", draw=DRAWS, allow_missing=True),
            sidecars=expand(f"{DRAW}_desc-{{method}}_pet.json", draw=DRAWS, allow_missing=True),
        log:
            "<logs>/denoise_again/{subject}_drf-{drf}_{method}.log",
        benchmark:
            "<benchmarks>/denoise_again/{subject}_drf-{drf}_{method}.tsv"
        wildcard_constraints:
            method=among(settings.fitted_methods),
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=growing(60),
        message:
            "{wildcards.subject}: denoise {input.lows} by {wildcards.method}"
        script:
            "../scripts/predict.py"

    rule noise:
        input:
            images=expand(
                f"{DRAW}_desc-{{method}}_pet.nii.gz",
                subject=NOISE_SUBJECT,
                drf=LOWEST,
                method=settings.methods,
                draw=DRAWS,
            ),
            mask=expand(f"{HEAD}.nii.gz", subject=NOISE_SUBJECT)[0],
            labels=expand(f"{SIMULATED_TRUTH}_labels.nii.gz", subject=NOISE_SUBJECT)[0],
            truth=expand(MATCHED_TRUTH, subject=NOISE_SUBJECT)[0],
            code=code_of("metrics", "evaluate", "regions") + code_of("report"),
        output:
            table="<results>/tables/noise.csv",
            page=report(
                "<results>/tables/noise.html",
                caption="../report/noise.rst",
                category="Tables",
                labels={"table": "Bias and deviation", "doses": "the lowest"},
            ),
            figure=report(
                "<results>/figures/noise.png",
                caption="../report/noise.rst",
                category="Curves",
                labels={"figure": "bias and deviation"},
            ),
        log:
            "<logs>/noise.log",
        benchmark:
            "<benchmarks>/noise.tsv"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(10),
        params:
            subject=NOISE_SUBJECT,
            drf=LOWEST,
            draws=DRAWS,
            methods=settings.methods,
        message:
            "Measure bias and deviation over {params.draws}"
        script:
            "../scripts/measure_noise.py"

# Bias and variance: several thinnings of one test subject's scan, and the stages after them (`make noise`).
if SIMULATED:
    NOISE_SUBJECT = subjects_of("test")[0]
    DRAWS = list(range(1, settings.noise.draws + 1))
    OF_DRAW = {"draw": "{draw}", "drf": "{drf}"}
    DRAWN_LISTMODE = f"<results>/noise/{SCAN.file('listmode', **OF_DRAW)}"
    DRAWN = f"<results>/noise/{SCAN.file('pet', **OF_DRAW)}"
    DRAWN_LOW = f"<results>/noise/{SCAN.file('pet', **OF_DRAW, desc='lowdose')}"
    DRAWN_DENOISED = f"<results>/noise/{SCAN.file('pet', **OF_DRAW, desc='{method}')}"

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

    use rule reconstruct as reconstruct_again with:
        input:
            listmode=f"{DRAWN_LISTMODE}.l64",
            header=f"{DRAWN_LISTMODE}.l64.hdr",
            mumap=f"{MUMAP}.nii.gz",
            normalisation=f"{NORMALISATION}.npy",
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

    # One job for each method.
    rule denoise_again:
        input:
            model="<results>/models/{method}/model.json",
            weights=weights_of,
            lows=expand(f"{DRAWN_LOW}.nii.gz", draw=DRAWS, allow_missing=True),
            sidecars=expand(f"{DRAWN_LOW}.json", draw=DRAWS, allow_missing=True),
            mr=f"{MR}.nii.gz",
        output:
            images=expand(f"{DRAWN_DENOISED}.nii.gz", draw=DRAWS, allow_missing=True),
            sidecars=expand(f"{DRAWN_DENOISED}.json", draw=DRAWS, allow_missing=True),
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
                f"{DRAWN_DENOISED}.nii.gz",
                subject=NOISE_SUBJECT,
                drf=LOWEST,
                method=settings.methods,
                draw=DRAWS,
            ),
            mask=expand(f"{HEAD}.nii.gz", subject=NOISE_SUBJECT)[0],
            labels=expand(f"{LABELS}.nii.gz", subject=NOISE_SUBJECT)[0],
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

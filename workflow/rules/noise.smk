# Bias and variance: several thinnings of one test subject's scan, and the stages after them (`make noise`).
if SIMULATED:
    NOISE_SUBJECT = subjects_of("test")[0]
    DRAWS = list(range(1, settings.noise.draws + 1))
    DRAWN_DENOISED = f"<results>/draws/{SCAN.file('pet', **OF_DRAW, desc='{method}')}"

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

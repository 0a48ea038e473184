# The tables: Table 1, its statistics, lesions, regions, and agreement with the vendor.


rule table1:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
        lesions="<results>/metrics/lesions.csv" if SIMULATED else [],
        false="<results>/metrics/false_spots.csv" if SIMULATED else [],
    output:
        tables=multiext("<results>/tables/table1", ".csv", ".md", ".tex"),
        by_dose="<results>/tables/table1_by_dose.csv",
        page=report(
            "<results>/tables/table1.html",
            caption="../report/table1.rst",
            category="Tables",
            labels={"table": "Table 1", "doses": "all"},
        ),
        page_by_dose=report(
            "<results>/tables/table1_by_dose.html",
            caption="../report/table1_by_dose.rst",
            category="Tables",
            labels={"table": "Table 1", "doses": "each"},
        ),
    log:
        "<logs>/table1.log",
    benchmark:
        "<benchmarks>/table1.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        methods=COMPARED_METHODS,
        drfs=lookup(dpath="drfs", within=config),
        train_drfs=lookup(dpath="train_drfs", within=config),
        subjects=subjects_of("test"),
        simulated=SIMULATED,
        in_suv=cohort.in_suv(subjects.values()),
        vgg=lookup(dpath="metrics/vgg", within=config),
        protocol=lookup(dpath="metrics/protocol", within=config),
        target="normal",
        controls=[*CONTROLS, *settings.control_methods],
        scatter=lookup(dpath="acquisition/scatter", within=config),
    message:
        "Write Table 1"
    script:
        "../scripts/table1.py"


if SIMULATED:

    use rule table1 as table1_truth with:
        input:
            code=code_of("report"),
            metrics="<results>/metrics/metrics_truth.csv",
        output:
            tables=multiext("<results>/tables/table1_truth", ".csv", ".md", ".tex"),
            by_dose="<results>/tables/table1_truth_by_dose.csv",
            page=report(
                "<results>/tables/table1_truth.html",
                caption="../report/table1_truth.rst",
                category="Tables",
                labels={"table": "Table 1 against the truth", "doses": "all"},
            ),
            page_by_dose=report(
                "<results>/tables/table1_truth_by_dose.html",
                caption="../report/table1_truth.rst",
                category="Tables",
                labels={"table": "Table 1 against the truth", "doses": "each"},
            ),
        log:
            "<logs>/table1_truth.log",
        benchmark:
            "<benchmarks>/table1_truth.tsv"
        params:
            methods=COMPARED_METHODS,
            drfs=lookup(dpath="drfs", within=config),
            train_drfs=lookup(dpath="train_drfs", within=config),
            subjects=subjects_of("test"),
            simulated=SIMULATED,
            in_suv=cohort.in_suv(subjects.values()),
            vgg=lookup(dpath="metrics/vgg", within=config),
            protocol=lookup(dpath="metrics/protocol", within=config),
            target="truth",
            controls=[*CONTROLS_OF_TRUTH, *settings.control_methods],
            scatter=lookup(dpath="acquisition/scatter", within=config),
        message:
            "Write Table 1 against the truth"

    rule tables_lesions:
        input:
            code=code_of("report"),
            lesions="<results>/metrics/lesions.csv",
            false="<results>/metrics/false_spots.csv",
        output:
            table="<results>/tables/lesions.csv",
            false_spots="<results>/tables/false_spots.csv",
            page=report(
                "<results>/tables/lesions.html",
                caption="../report/lesions.rst",
                category="Tables",
                labels={"table": "Lesions", "doses": "each"},
            ),
        log:
            "<logs>/tables_lesions.log",
        benchmark:
            "<benchmarks>/tables_lesions.tsv"
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=growing(5),
        message:
            "Write the tables of lesions"
        script:
            "../scripts/write_lesions.py"

    rule figure_regions:
        input:
            code=code_of("report"),
            regions="<results>/metrics/regions.csv",
        output:
            table="<results>/tables/regions.csv",
            page=report(
                "<results>/tables/regions.html",
                caption="../report/regions.rst",
                category="Tables",
                labels={"table": "Uptake by region", "doses": "averaged"},
            ),
            figure=report(
                "<results>/figures/bland_altman.png",
                caption="../report/bland_altman.rst",
                category="Curves",
                labels={"figure": "agreement by region"},
            ),
        log:
            "<logs>/figure_regions.log",
        benchmark:
            "<benchmarks>/figure_regions.tsv"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(5),
        message:
            "Draw the uptake by region"
        script:
            "../scripts/figure_regions.py"


if WITH_VENDOR:

    rule figure_vendor:
        input:
            code=code_of("report"),
            vendor="<results>/metrics/vendor.csv",
        output:
            figure=report(
                "<results>/figures/vendor.png",
                caption="../report/vendor.rst",
                category="Curves",
                labels={"figure": "agreement with the vendor's images"},
            ),
        log:
            "<logs>/figure_vendor.log",
        benchmark:
            "<benchmarks>/figure_vendor.tsv"
        threads: 1
        resources:
            mem_mb=growing(1000),
            runtime=growing(5),
        message:
            "Draw the agreement with the vendor's images"
        script:
            "../scripts/figure_vendor.py"


rule statistics:
    input:
        code=code_of("report"),
        metrics="<results>/metrics/metrics.csv",
    output:
        table="<results>/tables/statistics.csv",
        page=report(
            "<results>/tables/statistics.html",
            caption="../report/statistics.rst",
            category="Tables",
            labels={"table": "Paired comparison", "doses": "averaged"},
        ),
    log:
        "<logs>/statistics.log",
    benchmark:
        "<benchmarks>/statistics.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=growing(5),
    params:
        methods=COMPARED_METHODS,
        drfs=lookup(dpath="drfs", within=config),
        subjects=subjects_of("test"),
    message:
        "Compare CSR-D with the other methods, subject by subject"
    script:
        "../scripts/compare_methods.py"

# Low doses: Poisson thinning of the raw events.
rule thin:
    input:
        listmode=f"{LISTMODE}.{{suffix}}",
        header=f"{LISTMODE}.{{suffix}}.hdr",
    output:
        listmode=temp(f"{THINNED}.{{suffix}}"),
        header=temp(f"{THINNED}.{{suffix}}.hdr"),
    log:
        "<logs>/thin/{subject}_drf-{drf}_{suffix}.log",
    benchmark:
        "<benchmarks>/thin/{subject}_drf-{drf}_{suffix}.tsv"
    wildcard_constraints:
        suffix=WITH_HEADER,
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        seed=lookup(dpath="seed", within=config),
        nested=lookup(dpath="thin/nested", within=config),
    message:
        "{wildcards.subject}: thin to 1/{wildcards.drf} of the dose"
    script:
        "../scripts/thin.py"


use rule thin as thin_petsird with:
    input:
        listmode=f"{LISTMODE}.petsird",
    output:
        listmode=temp(f"{THINNED}.petsird"),
    log:
        "<logs>/thin/{subject}_drf-{drf}_petsird.log",
    benchmark:
        "<benchmarks>/thin/{subject}_drf-{drf}_petsird.tsv"

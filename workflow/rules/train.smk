# Methods fitted on the training subjects and selected on the validation ones, at the training doses.
LEARNED_HERE = [] if models else settings.learned_methods


# A trained network: its weights and the record of its training lie beside the card.
rule fit:
    input:
        lows=lows_of_fit,
        normals=expand(f"{REFERENCE}.nii.gz", subject=subjects_of("train", "validation")),
        mrs=expand(f"{MR}.nii.gz", subject=subjects_of("train", "validation")),
        masks=expand(f"{HEAD}.nii.gz", subject=subjects_of("train", "validation")),
    output:
        model="<results>/models/{method}/model.json",
        weights=WEIGHTS,
        history="<results>/models/{method}/history.jsonl",
    log:
        "<logs>/fit/{method}.log",
    benchmark:
        "<benchmarks>/fit/{method}.tsv"
    wildcard_constraints:
        method=among(LEARNED_HERE),
    threads: 8
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=0,  # set by a profile: the number of processes that train together
    params:
        settings=lambda wildcards: settings.of_method(wildcards.method).model_dump(mode="json"),
        seed=lookup(dpath="seed", within=config),
        metrics=lambda wildcards: config["metrics"] if method(wildcards.method).selects else {},
        augment=lambda wildcards: config["augment"] if wildcards.method in LEARNED_HERE else {},
        splits={name: subjects[name].split for name in subjects_of("train", "validation")},
        drfs=lookup(dpath="train_drfs", within=config),
    message:
        "{wildcards.method}: fit"
    script:
        "../scripts/fit.py"


# A method without a network, which compares its settings on the same images.
use rule fit as tune with:
    output:
        model="<results>/models/{method}/model.json",
    wildcard_constraints:
        method=NONE if models else among(set(settings.fitted_methods) - set(settings.learned_methods)),


# Or methods that were fitted before: a network with its weights,
rule bring_model:
    input:
        model=lambda wildcards: local(str(models[wildcards.method] / "model.json")),
    output:
        model="<results>/models/{method}/model.json",
        weights=WEIGHTS,
    log:
        "<logs>/bring_model/{method}.log",
    benchmark:
        "<benchmarks>/bring_model/{method}.tsv"
    wildcard_constraints:
        method=among(settings.learned_methods) if models else NONE,
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    message:
        "{wildcards.method}: bring in the fitted model"
    script:
        "../scripts/import_model.py"


# and one without.
use rule bring_model as bring_settings with:
    output:
        model="<results>/models/{method}/model.json",
    wildcard_constraints:
        method=among(set(models or []) - set(settings.learned_methods)),

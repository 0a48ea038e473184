# List-mode to images: the embedded OP-OSEM with its sensitivities, or an outside command.
MODELLED = settings.recon.models_scan  # by the embedded engine, or for another that is given its model
# Estimated once a scan, from its normal dose, or [] where each dose has its own or none
SCATTER_OF_SCAN = f"{SCATTER}.npy" if MODELLED and settings.recon.scatter == "once" else []
STATIC = {**config["recon"], "frames": None}


rule geometric_sensitivity:
    output:
        sensitivity=HRRT_SENSITIVITY,
    log:
        "<logs>/geometric_sensitivity/hrrt.log",
    benchmark:
        "<benchmarks>/geometric_sensitivity/hrrt.tsv"
    threads: 8
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        shape=lookup(dpath="recon/matrix", within=config),
        voxel_mm=lookup(dpath="recon/voxel_mm", within=config),
    message:
        "HRRT: geometric sensitivity"
    script:
        "../scripts/geometric_sensitivity.py"


# Other scanners: a PETSIRD file describes its scanner, a PETLINK header names it.
use rule geometric_sensitivity as scanner_sensitivity with:
    input:
        listmode=listmode_with_scanner,
    output:
        sensitivity=f"{SCANNER_SENSITIVITY}.nii.gz",
    log:
        "<logs>/geometric_sensitivity/{subject}.log",
    benchmark:
        "<benchmarks>/geometric_sensitivity/{subject}.tsv"
    message:
        "{wildcards.subject}: geometric sensitivity of its scanner"


rule subject_sensitivity:
    input:
        geometric=geometric_sensitivity_of,
        listmode=listmode_with_scanner,
        mumap=f"{MUMAP}.nii.gz",
        normalisation=normalisation_of,
    output:
        sensitivity=f"{SENSITIVITY}.nii.gz",
    log:
        "<logs>/subject_sensitivity/{subject}.log",
    benchmark:
        "<benchmarks>/subject_sensitivity/{subject}.tsv"
    threads: 4
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,  # a profile gives it
    params:
        seed=lookup(dpath="seed", within=config),
        lines=lookup(dpath="recon/subject_lines", within=config),
        mmr_norm=lookup(dpath="recon/mmr_norm", within=config),
        hardware=lookup(dpath="recon/hardware", within=config),
        device=lookup(dpath="recon/device", within=config),
    message:
        "{wildcards.subject}: sensitivity with the subject in the scanner"
    script:
        "../scripts/subject_sensitivity.py"


rule estimate_scatter:
    input:
        listmode=normal_listmode_of,
        mumap=f"{MUMAP}.nii.gz",
        normalisation=normalisation_of,
        sensitivity=rules.subject_sensitivity.output.sensitivity,
    output:
        scatter=f"{SCATTER}.npy",
    log:
        "<logs>/estimate_scatter/{subject}.log",
    benchmark:
        "<benchmarks>/estimate_scatter/{subject}.tsv"
    wildcard_constraints:
        subject=among(LISTMODE_SUBJECTS),
    threads: 4
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt * int(3000 + 6 * input.size_mb),
        runtime=growing(120),
        gpu=0,  # a profile gives it
    params:
        recon=STATIC,
        seed=lookup(dpath="seed", within=config),
    message:
        "{wildcards.subject}: estimate scatter"
    script:
        "../scripts/estimate_scatter.py"


rule reconstruct:
    input:
        listmode=listmode_of,
        header=header_of,
        mumap=f"{MUMAP}.nii.gz" if MODELLED else files_of("mumap"),
        normalisation=normalisation_of if MODELLED else files_of("normalisation"),
        sensitivity=rules.subject_sensitivity.output.sensitivity if MODELLED else [],
        scatter=SCATTER_OF_SCAN,
    output:
        pet=f"{RECONSTRUCTED}.nii.gz",
        sidecar=f"{RECONSTRUCTED}.json",
    log:
        "<logs>/reconstruct/{subject}_drf-{drf}.log",
    benchmark:
        "<benchmarks>/reconstruct/{subject}_drf-{drf}.tsv"
    wildcard_constraints:
        subject=among(LISTMODE_SUBJECTS),
    priority: 1  # thinned files are large: use and delete them before others are made
    threads: 4
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt * int(3000 + 6 * input.size_mb),
        runtime=growing(720),
        gpu=0,  # a profile gives it
    params:
        recon=STATIC,
        seed=lookup(dpath="seed", within=config),
    message:
        "{wildcards.subject}: reconstruct 1/{wildcards.drf} of the dose"
    script:
        "../scripts/reconstruct.py"


# One 4D image of recon.frames, beside the static one.
rule reconstruct_frames:
    input:
        listmode=listmode_of,
        header=header_of,
        mumap=f"{MUMAP}.nii.gz",
        normalisation=normalisation_of,
        sensitivity=rules.subject_sensitivity.output.sensitivity,
        scatter=SCATTER_OF_SCAN,
    output:
        pet=f"{DYNAMIC}.nii.gz",
        sidecar=f"{DYNAMIC}.json",
    log:
        "<logs>/reconstruct_frames/{subject}_drf-{drf}.log",
    benchmark:
        "<benchmarks>/reconstruct_frames/{subject}_drf-{drf}.tsv"
    wildcard_constraints:
        subject=among(LISTMODE_SUBJECTS),
    priority: 1
    threads: 4
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt * int(3000 + 6 * input.size_mb),
        runtime=growing(720),
        gpu=0,  # a profile gives it
    params:
        recon=lookup(dpath="recon", within=config),
        seed=lookup(dpath="seed", within=config),
    message:
        "{wildcards.subject}: reconstruct the time frames of 1/{wildcards.drf} of the dose"
    script:
        "../scripts/reconstruct_frames.py"

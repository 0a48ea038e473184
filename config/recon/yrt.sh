#!/usr/bin/env bash
# One exported scan to one image with YRT-PET: OSEM with the export's sensitivity, background and resolution.
set -euo pipefail
export=$1 output=$2 iterations=$3 subsets=$4 threads=$5
psf=()
[ ! -f "$export/psf.csv" ] || psf=(--psf "$export/psf.csv")
yrtpet_reconstruct --scanner "$export/scanner.json" --input "$export/events.lmDat" --format LM --flag_randoms \
    --sens "$export/sensitivity.nii.gz" --initial_estimate "$export/initial.nii.gz" "${psf[@]}" \
    --num_iterations "$iterations" --num_subsets "$subsets" --num_threads "$threads" --out "$output"

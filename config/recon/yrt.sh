#!/usr/bin/env bash
# One list-mode file to one image with YRT-PET: OSEM of 6 iterations by 16 subsets with attenuation.
set -euo pipefail
listmode=$1 mumap=$2 scanner=$3 params=$4 output=$5 threads=$6
for file in "$mumap" "$scanner" "$params"; do
    [ -f "$file" ] || { echo "$file does not exist; see docs/recon-hooks.md" >&2; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
csrd export "$listmode" "$work/events.lmDat"
yrtpet_reconstruct --scanner "$scanner" --params "$params" --input "$work/events.lmDat" --format LM \
    --num_iterations 6 --num_subsets 16 --att "$mumap" --num_threads "$threads" --out "$output"

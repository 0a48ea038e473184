#!/usr/bin/env bash
# One exported scan of the Biograph mMR to one image with STIR: OSMAPOSL with the export's factors and background.
set -euo pipefail
export=$1 output=$2 iterations=$3 subsets=$4 threads=$5
parameters=$(cd "$(dirname "$0")" && pwd)/osmaposl.par
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# STIR puts the values of environment variables into .par files
export PROMPTS=$export/events.hs MULTIPLICATIVE=$export/multiplicative.hs BACKGROUND=$export/background.hs \
    INITIAL=$export/initial.hv SUBSETS=$subsets SUBITERATIONS=$((iterations * subsets)) OMP_NUM_THREADS=$threads
OSMAPOSL "$parameters"

# The last image: its data under the name its header says, and its values as they are, which STIR does not say
cp "image_$SUBITERATIONS.v" "${output%.hv}.v"
{
    sed -e "s|^\(!*name of data file *:= *\).*|\1$(basename "${output%.hv}").v|" -e '/END OF INTERFILE/d' \
        "image_$SUBITERATIONS.hv"
    printf 'quantification units := 1\n!END OF INTERFILE :=\n'
} > "$output"

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

# The last image, and its data under the name its header says
cp "image_$SUBITERATIONS.v" "${output%.hv}.v"
sed "s|^\(!*name of data file *:= *\).*|\1$(basename "${output%.hv}").v|" "image_$SUBITERATIONS.hv" > "$output"

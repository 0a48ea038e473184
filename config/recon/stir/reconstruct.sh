#!/usr/bin/env bash
# One list-mode file to one image with STIR: prompts, randoms from the delayeds, attenuation, OSMAPOSL.
set -euo pipefail
listmode=$1 header=$2 mumap=$3 normalisation=$4 template=$5 output=$6 threads=$7
pars=$(cd "$(dirname "$0")" && pwd)
for file in "$listmode" "$header" "$mumap" "$normalisation" "$template"; do
    [ -f "$file" ] || { echo "$file does not exist; see docs/recon-hooks.md" >&2; exit 2; }
done
template=$(realpath "$template")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# STIR puts the values of environment variables into .par files
export OMP_NUM_THREADS=$threads LISTMODE=$header TEMPLATE=$template

lm_to_projdata "$pars/lm_to_projdata.par"
lm_fansums "$pars/lm_fansums_delayed.par"
# The mMR's maximal ring difference and fan; without input, or it would ask
find_ML_singles_from_delayed -f singles fansums_f1.dat 10 60 343 < /dev/null
construct_randoms_from_singles randoms singles prompts_f1g1d0b0.hs 10

calculate_attenuation_coefficients --ACF acf.hs "$mumap" prompts_f1g1d0b0.hs
# Everything that multiplies a bin: attenuation times the scanner's normalisation; the randoms come corrected by it
stir_math -s --mult multiplicative.hs acf.hs "$normalisation"
stir_math -s --mult background.hs randoms.hs multiplicative.hs
OSMAPOSL "$pars/osmaposl.par"

# The last image, and its data under the name its header says
cp image_42.v "${output%.hv}.v"
sed "s|^\(!*name of data file *:= *\).*|\1$(basename "${output%.hv}").v|" image_42.hv > "$output"

#!/usr/bin/env bash
# One .l64 file to one image with the HRRT users' software: OP-OSEM 3D of 6 iterations by 16 subsets, span 9.
set -euo pipefail
listmode=$1 mumap=$2 normalisation=$3 rebinner=$4 output=$5 threads=$6
for file in "$listmode" "$mumap" "$normalisation" "$rebinner"; do
    [ -f "$file" ] || { echo "$file does not exist; see docs/recon-hooks.md" >&2; exit 2; }
done
: "${GMINI:?set it to the folder of the scanner geometry (gm328.ini) that the HRRT programs read}"
rebinner=$(realpath "$rebinner")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=$threads

# Prompts and the crystals' delayeds; thinned alike, so the randoms follow the dose. hrrt_osem3d takes EM.ch as it is
lmhistogram "$listmode" -o EM.s -span 9 -PR -r "$rebinner"
e7_atten --model 328 -u "$mumap" --oa TX.a --span 9 --mrd 67 --force
e7_sino --model 328 -a TX.a -u "$mumap" -e EM.tr.s -n "$normalisation" --os EM_sc.s --os2d --gf \
    --span 9 --mrd 67 --force
hrrt_osem3d -p EM.s -d EM.ch -s EM_sc.s -a TX.a -n "$normalisation" -o EM.i -I 6 -S 16 -m 9,67 -W 3 -X 256 -T "$threads"

cp EM.i "${output%.hdr}"
sed "s|^\(!*name of data file *:= *\).*|\1$(basename "${output%.hdr}")|" EM.i.hdr > "$output"

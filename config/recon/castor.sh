#!/usr/bin/env bash
# One list-mode file to one image with CASToR: OSEM of 6 iterations by 16 subsets with a resolution model.
set -euo pipefail
listmode=$1 mumap=$2 normalisation=$3 output=$4 threads=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
csrd export "$listmode" "$work/events.Cdh"
mkdir -p "${CASTOR_CONFIG:?set it to the config folder of CASToR}/scanner"
cp "$work"/csrd_*.hscan "$work"/csrd_*.lut "$CASTOR_CONFIG/scanner/"
castor-recon -df "$work/events.Cdh" -fout "$work/image" -it 6:16 -dim 256,256,207 -vox 1.21875,1.21875,1.21875 \
    -opti MLEM -proj joseph -conv gaussian,2.5,2.5,3::psf -norm "$normalisation" -atn "$mumap" -th "$threads" \
    -oit -1
image=$(find "$work" -name 'image*.hdr' | sort | tail -1)
[ -n "$image" ] || { echo "castor-recon wrote no image" >&2; exit 1; }
cp "${image%.hdr}.img" "${output%.hv}.img"
sed "s|^\(!*name of data file *:= *\).*|\1$(basename "${output%.hv}").img|" "$image" > "$output"

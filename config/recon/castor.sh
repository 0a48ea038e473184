#!/usr/bin/env bash
# One exported scan to one image with CASToR: OSEM with the export's sensitivity and factors, and a resolution model.
set -euo pipefail
export=$1 output=$2 iterations=$3 subsets=$4 matrix=$5 voxel=$6 psf=$7 threads=$8
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A configuration of its own: that of CASToR, but for the scanner. A CASToR built by CMake reads it from -conf only
mkdir -p "$work/config/scanner"
for part in "${CASTOR_CONFIG:?set it to the config folder of CASToR}"/*; do
    [ "$(basename "$part")" = scanner ] || ln -s "$(realpath "$part")" "$work/config/"
done
cp "$export"/csrd_*.hscan "$export"/csrd_*.lut "$work/config/scanner/"
blur=()
[ "$psf" = 0 ] || blur=(-conv "gaussian,$psf,$psf,4::psf")
castor-recon -conf "$work/config" -df "$export/events.Cdh" -sens "$export/sensitivity.hdr" -img "$export/initial.hdr" \
    -fout "$work/image" -it "$iterations:$subsets" -dim "$matrix" -vox "$voxel,$voxel,$voxel" -opti MLEM \
    -proj joseph "${blur[@]}" -th "$threads" -oit -1
image=$(find "$work" -maxdepth 1 -name 'image*.hdr' | sort | tail -1)
[ -n "$image" ] || { echo "castor-recon wrote no image" >&2; exit 1; }
cp "${image%.hdr}.img" "${output%.hv}.img"
sed "s|^\(!*name of data file *:= *\).*|\1$(basename "${output%.hv}").img|" "$image" > "$output"

#!/bin/sh
# From counts at several days to fates, gene trends, a knockout and a report, each cell from its own day:
#     sh fates.sh CELLS.h5ad DAY LABEL GENE OUT
# DAY and LABEL are columns of obs, GENE is what is switched off, and OUT a folder to write.
set -eu
cells=$1 day=$2 label=$3 gene=$4 out=$5
cfm fit "$cells" --time-key "$day" --transform log1p,pca:n=20 -o "$out/run"
cfm fate "$out/run" "$cells" --label-key "$label" -o "$out/fates.h5ad"
cfm genes "$out/run" "$cells" --fate-key "$label" --top 200 -o "$out/trends.csv"
cfm fate "$out/run" "$cells" --label-key "$label" --set "$gene=0" -o "$out/knockout.csv"
cfm report "$out/run" --label-key "$label" --data "$out/fates.h5ad" --colour cfm_fate_entropy -o "$out/report.html"

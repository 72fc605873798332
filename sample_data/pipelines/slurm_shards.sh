#!/bin/bash
# Carry very many points in a job array, one shard a task, then merge them.
#
#   JOB=$(sbatch --parsable --array=1-8 slurm_shards.sh RUN DATA.csv OUT.csv)
#   sbatch --dependency=afterok:$JOB slurm_shards.sh RUN DATA.csv OUT.csv merge 8
#
# A task that was lost is run again alone: sbatch --export=ALL,SHARD=3/8 slurm_shards.sh RUN DATA.csv OUT.csv
#SBATCH --job-name=cfm-shards
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=01:00:00
set -euo pipefail
run=$1 data=$2 out=$3 ending=${2#*.}

if [ "${4:-}" = merge ]; then
    parts=()
    for k in $(seq "$5"); do parts+=("$out.$k.$ending"); done
    cfm merge "${parts[@]}" -o "$out"
else
    shard=${SHARD:-auto}
    number=${shard%/*}
    [ "$shard" = auto ] && number=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))
    cfm transport "$run" "$data" --shard "$shard" -o "$out.$number.$ending"
fi

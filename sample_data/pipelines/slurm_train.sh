#!/bin/bash
# Train on several nodes: torchrun starts a rank for each GPU (or each task's share of cores), cfm joins them.
#
#   sbatch slurm_train.sh SOURCE.csv TARGET.csv RUN --steps 20000 --batch-size 8192
#
# --batch-size is that of all ranks together. After a failure the same line with --resume goes on,
# with any number of nodes.
#SBATCH --job-name=cfm-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
set -euo pipefail
source=$1 target=$2 run=$3
shift 3
host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "${RANKS_PER_NODE:-1}" \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$host:29500" \
    -m cfmcli fit "$source" "$target" -o "$run" "$@"

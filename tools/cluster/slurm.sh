#!/bin/bash
# Two nodes of eight GPUs; one task a node, which sees all its GPUs.
#
#   sbatch tools/cluster/slurm.sh runs/own/experiment.gin /shared/runs/own
#
# SLURM sends TERM two minutes before the time is up: the run saves, ends with 0, and the next job goes on. With --requeue a job
# that lost a node starts again by itself. Records and run lie on a file system that all nodes see.
#SBATCH --job-name=wss
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
gin_file=$1 run_dir=$2
shift 2
unset http_proxy https_proxy  # gRPC between the nodes would go through them
srun --ntasks-per-node=1 --kill-on-bad-exit=1 \
  wss-train --strategy=multi_worker --gin_file="$gin_file" --run_dir="$run_dir" "$@"

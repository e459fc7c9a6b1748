#!/bin/bash
# Two nodes of eight GPUs; one task a node, which sees all its GPUs.
#
#   sbatch tools/cluster/slurm.sh runs/own/experiment.gin /shared/runs/own --data_dir=/shared/data/own
#
# Two minutes before the time is up SLURM sends TERM to the tasks: the run saves and ends, and this script puts the job into the
# queue again until the run has its weights. After an error it stops there. --requeue does the same for a node that is lost.
# Records and run lie on a file system that all nodes see.
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
# . /shared/wss/.venv/bin/activate   # where the commands are installed, on all nodes
unset http_proxy https_proxy  # gRPC between the nodes would go through them
srun --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 \
  wss-train --strategy=multi_worker --gin_file="$gin_file" --run_dir="$run_dir" "$@"
if [ ! -e "$run_dir/model.weights.h5" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi

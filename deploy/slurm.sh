#!/usr/bin/env bash
# A Ray cluster inside a Slurm job, one node of it on every node of the job. From the root of a
# checkout in a folder that all nodes see, after ./setup.sh:
#
#   sbatch deploy/slurm.sh suite=all scale=workstation
#
# Shared: the checkout with its .venv, results/ and data/ (or results=s3://... datasets=s3://...).
# Copied: nothing. The token is made for this job and reaches the nodes in srun's environment.
#SBATCH --job-name=jepa-bench
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=slurm-%j.out
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?start this file by sbatch}"

RAY_AUTH_TOKEN=$(.venv/bin/python -c "import secrets; print(secrets.token_hex(32))")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export JEPA_BENCH_CACHE=${SLURM_TMPDIR:-/tmp}/jepa-bench-$USER # on the node's own disk
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000)) # two jobs may share a node
address=$(getent ahostsv4 "$head" | awk '{ print $1; exit }'):$port

on() { # a node of the cluster on this host, as long as the job lasts
    srun --nodes=1 --ntasks=1 --overlap --nodelist="$1" .venv/bin/ray start --block \
        --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats "${@:2}" &
}
on "$head" --head --node-ip-address="${address%:*}" --port="$port" --include-dashboard=false
for _ in $(seq 60); do
    .venv/bin/ray health-check --address "$address" 2>/dev/null && break
    sleep 2
done
for node in "${nodes[@]:1}"; do
    on "$node" --address="$address"
done

# SIGTERM comes two minutes before the time is over: what is done is kept, the same job goes on
./run.sh ray.address="$address" "$@" &
run=$!
trap 'kill -TERM "$run"' TERM
code=0
wait "$run" || code=$?
while kill -0 "$run" 2>/dev/null; do wait "$run" || code=$?; done
exit "$code"

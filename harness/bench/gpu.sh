#!/usr/bin/env bash
# Everything that a GPU must show: the tests of it, the bench of plans and training steps, and
# Two-Room at the paper's sizes, trained for the minutes there are and evaluated under lewm-v3.
# Neither Ray nor a simulator of MuJoCo is needed. Words go to the run, variables change the rest:
#   METHODS='[lewm]' REPEATS=2 harness/bench/gpu.sh data.episodes=500 train.steps=2000
#   DEVICE=cpu SCALE=tiny harness/bench/gpu.sh        the same way in a minute, to see that it works
set -uo pipefail
root=$(dirname "${BASH_SOURCE[0]}")/../..
if [ -e "$root/pyproject.toml" ]; then cd "$root" || exit; fi # else installed: results go here
python=${PYTHON:-.venv/bin/python}
if [ ! -x "$python" ]; then python=python3; fi
device=${DEVICE:-cuda} scale=${SCALE:-paper}
results=${RESULTS:-results} datasets=${DATASETS:-data} repeats=${REPEATS:-5}
protocol=lewm-v3
made_on=""  # in the names of the bench's files
if [ "$device" != cpu ]; then made_on="-$device"; fi
pairs=${PAIRS:-100} windows=128 candidates=300 iterations=${ITERATIONS:-30}
if [ "$scale" = tiny ]; then
  protocol=smoke pairs=4 windows=16 candidates=8 iterations=2 repeats=2
fi
failed=0
part() { # one part of it: what fails is said at the end and stops no other part
  "$@" || { failed=1 && echo "failed: $*" >&2; }
}

if [ "$device" != cpu ] && [ -e tests/test_cuda.py ]; then
  part "$python" -m pytest tests/test_cuda.py -o addopts="" -q
fi

bench() { part "$python" -m harness.bench "$@" "scale=$scale" "device=$device" \
  "results=$results/gpu/bench"; }
bench plan "iterations=$iterations" "pairs=$pairs" "repeats=$repeats"
bench train "windows=$windows" "repeats=$repeats"
for precision in fp32 bf16; do
  bench profile "windows=$windows" "precision=$precision" "repeats=$repeats"
  bench plan_ratio "candidates=$candidates" "lewm_candidates=$candidates" "repeats=$repeats" \
    "dino_wm_candidates=$candidates" "iterations=$iterations" "precision=$precision"
  mv "$results/gpu/bench/plan_ratio$made_on.parquet" \
    "$results/gpu/bench/plan_ratio$made_on-$precision.parquet"
done

# WEIGHTS=...: DINOv2's weights where they can be had
part "$python" -m harness.run suite=all run=gpu "scale=$scale" "protocol=$protocol" \
  "device=$device" backend=loop "tasks=[two_room]" \
  "methods=${METHODS:-[lewm,pldm,dino_wm,heuristic,random,noop,replay]}" \
  "method.dino_wm.weights=${WEIGHTS:-random}" "results=$results" "datasets=$datasets" "$@"
exit "$failed"

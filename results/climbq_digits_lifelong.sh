#!/usr/bin/env bash
# Rebalancing losses on a sequence of tasks with a long tail inside each: LifeQuant's recipe on digits with ResNet-8, three
# tasks that replace 75 % of the classes, imbalance 20 in each task, seeds 0 to 4; `make climbq`. Run again, it resumes.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
plain=data/digits_075/digits
csv=data/digits_075_lt/digits
runs=runs/climbq_digits_lifelong

$lifeq data prepare --root data/digits
$lifeq data lifelong --root data/digits --csv $plain --tasks 3 --diminish-rate 75
$lifeq data longtail --from $plain --csv $csv --tasks 3 --gamma 20
$lifeq data replay --csv $csv --tasks 3 --rate 20

for seed in ${SEEDS:-0 1 2 3 4}; do
  run() {
    local name=$1
    shift
    $lifeq train lifequant/resnet20_digits --run "$runs/${name}_$seed" --name "$name" --seed "$seed" \
      --model.name resnet8 --data.csv $csv --evaluate-every 0 --checkpoint-every 100 "$@"
  }
  run cross_entropy --loss.name cross_entropy
  run ball --loss.name ball_log_prior # which logit adjustment is at tau 1
  run ball_shift --loss.name ball_shift
  run logit_adjustment --loss.name logit_adjustment --loss.args.tau 2
  # its gradient is about 2/K of cross-entropy's
  run homovar --loss.name homovar --stages.0.learning-rate 0.5 --stages.1.learning-rate 0.25 \
    --stages.2.learning-rate 0.25
done
if [ -z "${SEEDS:-}" ]; then
  $lifeq report $runs/* --out results/climbq_digits_lifelong
fi

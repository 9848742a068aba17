#!/usr/bin/env bash
# Four networks with learned steps (LSQ_paper) at 4 and 3 bits on scikit-learn's digits, exported; `results/export`.
# The trainings are short, EPOCHS of each stage: what is measured is how the files agree with the networks, not accuracy.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
epochs=${EPOCHS:-8}
csv=data/digits_1/digits

$lifeq data prepare --root data/digits
$lifeq data lifelong --root data/digits --csv $csv --tasks 1
mkdir -p results/export

for network in ${NETWORKS:-mobilenet_v2 mobilenet_v3_small efficientnet_lite0 resnet18}; do
  run=runs/export_digits/$network
  # 4 bits from random weights in place of the recipe's float stage, then its 3 bits
  $lifeq train oscillations/${network}_digits --run "$run" --evaluate-every 0 --checkpoint-every 100 \
    --stages.0.name w4a4 --stages.0.weight-bits 4 --stages.0.act-bits 4 \
    --stages.0.epochs "$epochs" --stages.1.epochs "$epochs"
  for stage in w4a4 w3a3; do
    $lifeq export "$run" --stage $stage
    cp "$run/export/$stage/export.md" "results/export/${network}_$stage.md"
  done
done

#!/usr/bin/env bash
# LSQ, dampening and freezing on CIFAR-10: a narrow MobileNetV2 with 3-bit weights (BITS=w3a32) and with 3-bit weights and
# activations (BITS=w3a3), one epoch over every second training image (195 steps) from one float checkpoint, seeds 0 to 2;
# `make oscillations`.
# Images: data/cifar10/{train,test}/<class>/<file>. Run again, it resumes.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
recipe=oscillations/mobilenet_v2_cifar10
runs=runs/oscillations_mobilenet_v2_cifar10

if [ ! -e data/cifar10_1/cifar10_train0.csv ]; then
  $lifeq data lifelong --root data/cifar10 --csv data/cifar10_1/cifar10 --tasks 1
fi
$lifeq train $recipe --run $runs/float --start "" --oscillation.name none --reestimation-batches 0 \
  --optimizer.weight-decay 5e-4 --stages.0.name w32a32 --stages.0.weight-bits 32 --stages.0.act-bits 32 \
  --stages.0.epochs 4 --stages.0.learning-rate 0.1

half=data/cifar10_half/cifar10
mkdir -p "${half%/*}"
awk 'NR % 2 == 1' data/cifar10_1/cifar10_train0.csv > ${half}_train0.csv
cp data/cifar10_1/cifar10_test0.csv ${half}_test0.csv

for bits in ${BITS:-w3a32 w3a3}; do
  for seed in 0 1 2; do
    common="--data.csv $half --seed $seed --stages.0.name $bits --stages.0.act-bits ${bits#w3a}"
    $lifeq train $recipe --run $runs/$bits/lsq_$seed $common --oscillation.name track --oscillation.args.momentum 0.01
    $lifeq train $recipe --run $runs/$bits/dampen_$seed $common --oscillation.name dampen --oscillation.args.momentum 0.01
    $lifeq train $recipe --run $runs/$bits/freeze_$seed $common
  done
  $lifeq report $runs/$bits/* --out results/oscillations_cifar10/$bits
done

# the other networks, once, from a float network of one epoch
for net in mobilenet_v3_small efficientnet_lite0 resnet18; do
  recipe=oscillations/${net}_cifar10
  runs=runs/oscillations_${net}_cifar10
  $lifeq train $recipe --run $runs/float --data.csv $half --start "" --oscillation.name none --reestimation-batches 0 \
    --optimizer.weight-decay 5e-4 --stages.0.name w32a32 --stages.0.weight-bits 32 --stages.0.act-bits 32 \
    --stages.0.learning-rate 0.1
  $lifeq train $recipe --run $runs/w3a3 --data.csv $half
done

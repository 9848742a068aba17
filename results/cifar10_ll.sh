#!/usr/bin/env bash
# LifeQuant on CIFAR-10 in three lifelong tasks, as long a chain as two CPU cores train in about an hour; `make cifar10`.
# Images: data/cifar10/{train,test}/<class>/<file>. Run again, it resumes.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
csv=data/cifar10_025/cifar10
run=runs/cifar10_short/seed0

$lifeq data lifelong --root data/cifar10 --csv $csv --tasks 3 --diminish-rate 25
$lifeq data replay --csv $csv --tasks 3 --rate 20
$lifeq train lifequant/resnet20_cifar10_ll --run $run --stages.0.epochs 3 --stages.1.epochs 1 \
  --stages.2.epochs 2 --optimizer.schedule cosine --evaluate-every 0
$lifeq report $run --out results/cifar10_ll

#!/usr/bin/env bash
# bfloat16 products beside float32 in LifeQuant's chain of 32, 8 and 4 bits: the quickstart's digits, ten seeds, and every
# second training image of CIFAR-10 as one task, an epoch for each stage, three seeds.
# Images: data/cifar10/{train,test}/<class>/<file>. Run again, it resumes.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
digits=data/digits_025/digits

$lifeq data prepare --root data/digits
$lifeq data lifelong --root data/digits --csv $digits --tasks 3 --diminish-rate 25
$lifeq data replay --csv $digits --tasks 3 --rate 20
for precision in float32 bfloat16; do
  $lifeq train lifequant/resnet20_digits --run runs/bfloat16/digits/$precision --name $precision \
    --precision $precision --seeds 0,1,2,3,4,5,6,7,8,9 --evaluate-every 0
done
$lifeq report runs/bfloat16/digits/* --out results/bfloat16/digits

if [ ! -e data/cifar10_1/cifar10_train0.csv ]; then
  $lifeq data lifelong --root data/cifar10 --csv data/cifar10_1/cifar10 --tasks 1
fi
half=data/cifar10_half/cifar10
mkdir -p "${half%/*}"
awk 'NR % 2 == 1' data/cifar10_1/cifar10_train0.csv > ${half}_train0.csv
cp data/cifar10_1/cifar10_test0.csv ${half}_test0.csv
for precision in float32 bfloat16; do
  $lifeq train lifequant/resnet20_cifar10_ll --run runs/bfloat16/cifar10/$precision --name $precision \
    --precision $precision --seeds 0,1,2 --data.csv $half --data.num-tasks 1 --data.no-replay --importance-data train \
    --evaluate-every 0 --optimizer.schedule cosine --stages.0.epochs 1 --stages.1.epochs 1 --stages.2.epochs 1
done
$lifeq report runs/bfloat16/cifar10/* --out results/bfloat16/cifar10

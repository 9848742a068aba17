#!/usr/bin/env bash
# BLIP and its baselines on CIFAR-10 in five two-class tasks, a head for each: an AlexNet of a quarter of the features, 256
# in the linear layers, 3 epochs a task in place of patience, seed 0; `make blip`. Images: data/cifar10/{train,test}/<class>/
# <file>. Run again, it resumes.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
runs=runs/blip_cifar10_pairs

if [ ! -e data/cifar10_pairs/cifar10_train0.csv ]; then
  $lifeq data sequence cifar10_pairs --root data/cifar10 --csv data/cifar10_pairs/cifar10
fi
for method in blip finetune frozen ewc; do
  arguments=""
  if [ $method = ewc ]; then arguments="--method.args.strength 10"; fi
  $lifeq train blip/cifar10_pairs_alexnet --run $runs/$method --method.name $method $arguments \
    --model.args.mul 0.25 --model.args.hidden 256 --stages.0.epochs 3 --optimizer.patience 0 --selection last --evaluate-every 0
done
$lifeq report $runs/* --out results/blip_cifar10_pairs

#!/usr/bin/env bash
# The systems' own budgets on two CPU cores, seed 0, one run each, as their recipes are but for ClimbQ's 50 epochs and the
# size of images; `make real-budgets`. Run again, it resumes. PART=NAME takes one run: ClimbQ's take up to two hours of a
# core, BLIP's less, LifeQuant's almost three hours of both. LifeQuant and ClimbQ see CIFAR-10 at 16x16 pixels, in
# networks of full width: at 32x32 they take four times as long.
#   lifequant  LifeQuant on CIFAR-10 in three tasks, 25 % of the classes replaced: 30 epochs in float and 30 at 8 bits on
#              the first task, 30 a task at 4 bits
#   climbq     ClimbQ on CIFAR-10-LT, the authors' CSV file of gamma 10 (data/cifar10_lt): 50 epochs in float, 50 at 4 bits
#   blip       BLIP on MNIST in five tasks, a head for each: at most 200 epochs a task, five without gain end one
# lifequant_plain, climbq_plain and blip_plain: the same without the method (fine-tuning, cross-entropy).
# Images: data/cifar10 and data/mnist, {train,test}/<class>/<file>.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
runs=runs/real_budgets
small=(--data.root data/cifar10_16 --data.image 16 16 3 --data.crop 16 16 --data.pad 2)
common=(--seed 0 --evaluate-every 0)

run() { # run NAME RECIPE OVERRIDES...
  local name=$1 recipe=$2
  shift 2
  $lifeq train "$recipe" --run $runs/$name "${common[@]}" "$@"
  $lifeq report $runs/$name --out results/real_budgets/$name
}

prepare_small() {
  $lifeq data prepare --root data/cifar10_16 --source folder --from data/cifar10 --size 16
}

lifequant() {
  local csv=data/cifar10_025_16/cifar10
  prepare_small
  if [ ! -e ${csv}_replay0.csv ]; then
    $lifeq data lifelong --root data/cifar10_16 --csv $csv --tasks 3 --diminish-rate 25
    $lifeq data replay --csv $csv --tasks 3 --rate 20
  fi
  run "${name:-lifequant}" lifequant/resnet20_cifar10_ll "${small[@]}" --data.csv $csv "$@"
}

lifequant_plain() {
  name=lifequant_plain lifequant --method.name finetune --loss.name cross_entropy
}

climbq() {
  prepare_small
  run "${name:-climbq}" climbq/resnet20_cifar10_lt "${small[@]}" --stages.0.epochs 50 --stages.1.epochs 50 "$@"
}

climbq_plain() {
  name=climbq_plain climbq --loss.name cross_entropy
}

blip() {
  if [ ! -e data/mnist5/mnist_train0.csv ]; then
    $lifeq data sequence mnist5 --root data/mnist --csv data/mnist5/mnist
  fi
  run "${name:-blip}" blip/mnist5_mlp "$@"
}

blip_plain() {
  name=blip_plain blip --method.name finetune
}

for part in ${PART:-blip climbq lifequant blip_plain climbq_plain lifequant_plain}; do
  $part
done

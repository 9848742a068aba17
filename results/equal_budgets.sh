#!/usr/bin/env bash
# Short runs at the budgets that the original programs were run at, seeds 0 to 2; `make budgets`. Run again, it resumes.
# PART=NAME takes one of them, SEEDS some seeds.
#   climbq     ClimbQ and cross-entropy on CIFAR-10-LT, the authors' CSV file of gamma 10 (data/cifar10_lt, as in
#              climbq_cifar10_lt.sh): ResNet-20, 4 epochs in float and 4 at 4 bits
#   blip       BLIP and fine-tuning on MNIST in five tasks, a head for each, at most 10 epochs a task
#   permuted   the same on ten permutations, 3 epochs
#   lifequant  LifeQuant and fine-tuning with replay on CIFAR-10 in three tasks, 25 % of the classes replaced, two fifths
#              of the training images: 2 epochs in float and 1 at 8 bits on the first task, 2 a task at 4 bits
# The originals never reach the epochs at which they lower the rate, so it is constant here.
# Images: data/cifar10 and data/mnist, {train,test}/<class>/<file>.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
seeds=${SEEDS:-0,1,2}
runs=runs/equal_budgets
constant=(--optimizer.schedule constant --evaluate-every 0 --seeds "$seeds")

report() { # report PART NAMES...
  local part=$1
  shift
  if [ -z "${SEEDS:-}" ]; then $lifeq report "${@/#/$runs/$part/}" --out "results/equal_budgets/$part"; fi
}

climbq() {
  local short=("${constant[@]}" --stages.0.epochs 4 --stages.1.epochs 4)
  $lifeq train climbq/resnet20_cifar10_lt --run $runs/climbq/homovar "${short[@]}"
  $lifeq train climbq/resnet20_cifar10_lt --run $runs/climbq/cross_entropy "${short[@]}" --loss.name cross_entropy
  report climbq homovar cross_entropy
}

blip() {
  short_blip blip mnist5 10
}

permuted() {
  short_blip permuted pmnist 3
}

short_blip() { # short_blip PART SEQUENCE EPOCHS
  if [ ! -e data/$2/mnist_train0.csv ]; then
    $lifeq data sequence $2 --root data/mnist --csv data/$2/mnist
  fi
  for method in blip finetune; do
    $lifeq train blip/$2_mlp --run $runs/$1/$method "${constant[@]}" --stages.0.epochs $3 --method.name $method
  done
  report $1 blip finetune
}

lifequant() {
  local csv=data/cifar10_025_part/cifar10
  if [ ! -e ${csv}_replay0.csv ]; then
    $lifeq data lifelong --root data/cifar10 --csv $csv --tasks 3 --diminish-rate 25
    for task in 0 1 2; do # two rows of five: the rows of a class are together
      awk 'NR == 1 || NR % 5 < 2' ${csv}_train$task.csv > ${csv}_part.csv
      mv ${csv}_part.csv ${csv}_train$task.csv
    done
    $lifeq data replay --csv $csv --tasks 3 --rate 20
  fi
  local short=("${constant[@]}" --data.csv $csv --stages.0.epochs 2 --stages.1.epochs 1 --stages.2.epochs 2)
  $lifeq train lifequant/resnet20_cifar10_ll --run $runs/lifequant/lifequant "${short[@]}"
  $lifeq train lifequant/resnet20_cifar10_ll --run $runs/lifequant/finetune "${short[@]}" --method.name finetune \
    --loss.name cross_entropy
  report lifequant lifequant finetune
}

for part in ${PART:-climbq blip permuted lifequant}; do
  $part
done

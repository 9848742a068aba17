#!/usr/bin/env bash
# Short runs at the budgets that the original programs were run at, seeds 0 to 2; `make budgets`. Run again, it resumes.
# PART=NAME takes one of them, SEEDS some seeds.
#   climbq     ClimbQ and cross-entropy on CIFAR-10-LT, the authors' CSV file of gamma 10 (data/cifar10_lt, as in
#              climbq_cifar10_lt.sh): ResNet-20, 4 epochs in float and 4 at 4 bits
#   blip       BLIP and fine-tuning on MNIST in five tasks, a head for each, at most 10 epochs a task
#   permuted   the same on ten permutations, 3 epochs
#   lifequant  LifeQuant and fine-tuning with replay on CIFAR-10 in three tasks, 25 % of the classes replaced, two fifths
#              of the training images: 2 epochs in float and 1 at 8 bits on the first task, 2 a task at 4 bits
#   parts      which part of LifeQuant gives up the newest task: the same at 16x16 pixels, seed 10, measured on a fifth of
#              the training images that is held out: without each part, at twice the rate, and with a rate that falls
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

two_fifths() { # two_fifths ROOT CSV: three tasks on two fifths of the training images
  if [ ! -e $2_replay0.csv ]; then
    $lifeq data lifelong --root $1 --csv $2 --tasks 3 --diminish-rate 25
    for task in 0 1 2; do # two rows of five: the rows of a class are together
      awk 'NR == 1 || NR % 5 < 2' $2_train$task.csv > $2_part.csv
      mv $2_part.csv $2_train$task.csv
    done
    $lifeq data replay --csv $2 --tasks 3 --rate 20
  fi
}
epochs=(--stages.0.epochs 2 --stages.1.epochs 1 --stages.2.epochs 2)

lifequant() {
  local csv=data/cifar10_025_part/cifar10
  two_fifths data/cifar10 $csv
  local short=("${constant[@]}" --data.csv $csv "${epochs[@]}")
  $lifeq train lifequant/resnet20_cifar10_ll --run $runs/lifequant/lifequant "${short[@]}"
  $lifeq train lifequant/resnet20_cifar10_ll --run $runs/lifequant/finetune "${short[@]}" --method.name finetune \
    --loss.name cross_entropy
  report lifequant lifequant finetune
}

parts() {
  local root=data/cifar10_16 csv=data/cifar10_025_part_16/cifar10 out=results/equal_budgets/parts
  $lifeq data prepare --root $root --source folder --from data/cifar10 --size 16
  two_fifths $root $csv
  mkdir -p $out
  varied methods --grid method.name=lifequant,finetune --grid loss.name=ball_log_prior,cross_entropy
  varied schedules --grid optimizer.schedule=constant,step,cosine
  varied rates --grid stages.2.learning-rate=0.05,0.1
  varied strengths --grid method.args.strength=0,100 --grid method.args.prox=0,1e-4
}

varied() { # varied TABLE GRIDS...: cells of one folder, their table in results/
  local table=$1
  shift
  $lifeq sweep lifequant/resnet20_cifar10_ll --run $runs/parts --seeds 10 --data.validation 0.2 --data.root $root \
    --data.csv $csv --data.image 16 16 3 --data.crop 16 16 --data.pad 2 --optimizer.schedule constant \
    --evaluate-every 0 "${epochs[@]}" "$@" | tee /dev/stderr | grep '^|' > $out/$table.md
}

for part in ${PART:-climbq blip permuted lifequant parts}; do
  $part
done

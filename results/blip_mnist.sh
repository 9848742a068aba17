#!/usr/bin/env bash
# BLIP and its baselines on MNIST, a perceptron with 1200 hidden units, seeds 0 to 2; `make blip`.
# Images: data/mnist/{train,test}/<digit>/<file>. Run again, it resumes.
#   mnist5          five tasks of two digits, a head for each, all images; rate 0.01, no momentum, 20 epochs
#   pmnist          ten permutations, a head for each, every tenth training and fifth test image; the same rate and
#                   momentum, 5 epochs
#   pmnist_shared   the same images, one head for all tasks, momentum 0.9, 20 epochs
# SETTING=NAME takes one of them. STEP=search: settings of the methods, seed 0, scored on held-out training images.
# STEP=ablation: what of BLIP matters: cell, rounding, zero bits, prior, Fisher information; seed 0. STEP=growth: twenty tasks.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
runs=runs/blip_mnist
tenth=data/pmnist_tenth/mnist

if [ ! -e data/mnist5/mnist_train0.csv ]; then
  $lifeq data sequence mnist5 --root data/mnist --csv data/mnist5/mnist
fi
if [ ! -e ${tenth}_train0.csv ]; then
  $lifeq data sequence pmnist --root data/mnist --csv data/pmnist/mnist
  mkdir -p "${tenth%/*}"
  awk 'NR == 1 || NR % 10 == 2' data/pmnist/mnist_train0.csv > ${tenth}_train0.csv
  awk 'NR == 1 || NR % 5 == 2' data/pmnist/mnist_test0.csv > ${tenth}_test0.csv
fi

# train SETTING NAME OVERRIDES...: fixed epochs in place of patience, so that every method takes the same steps
train() {
  local setting=$1 name=$2
  shift 2
  local csv=$tenth epochs=20
  if [ "$setting" = mnist5 ]; then csv=data/mnist5/mnist; fi
  if [ "$setting" = pmnist ]; then epochs=5; fi
  $lifeq train blip/${setting}_mlp --run "$runs/$setting/$name" --data.csv $csv --stages.0.epochs $epochs \
    --optimizer.patience 0 --selection last --evaluate-every 0 --checkpoint-every 20 "$@"
}

search() {
  local held_out="--data.evaluate-on validation"
  for setting in ${SETTING:-pmnist pmnist_shared}; do
    for strength in 10 100 1000; do
      train $setting search/ewc_$strength $held_out --method.name ewc --method.args.strength $strength ||
        echo "strength $strength diverges"
    done
    for strength in 0.5 2; do
      train $setting search/lwf_$strength $held_out --method.name lwf --method.args.strength $strength
    done
    for strength in 0.01 1; do
      train $setting search/imm_$strength $held_out --method.name imm --method.args.strength $strength
    done
    local priors="1e-10 1e-9 1e-8"
    if [ $setting = pmnist_shared ]; then priors="5e-9 1e-8 2e-8"; fi
    for prior in $priors; do
      train $setting search/blip_$prior $held_out --method.args.prior $prior --method.args.no-rounding
      train $setting search/blip_rounding_$prior $held_out --method.args.prior $prior --method.args.rounding
    done
  done
}

# the settings that search found: results/LOG.md
final() {
  for setting in ${SETTING:-mnist5 pmnist pmnist_shared}; do
    local ewc=10
    if [ $setting = pmnist_shared ]; then ewc=100; fi
    train $setting blip --seeds 0,1,2
    train $setting finetune --seeds 0,1,2 --method.name finetune
    train $setting ewc --seeds 0,1,2 --method.name ewc --method.args.strength $ewc
    train $setting lwf --seeds 0,1,2 --method.name lwf
    train $setting imm --seeds 0,1,2 --method.name imm
    $lifeq report $runs/$setting/{blip,finetune,ewc,lwf,imm} --out results/blip_mnist/$setting
  done
}

ablation() {
  for setting in ${SETTING:-pmnist pmnist_shared}; do
    train $setting ablation/cell_full --method.args.cell full
    train $setting ablation/keep --method.args.zero-bits keep
    train $setting ablation/rounding --method.args.rounding
    train $setting ablation/no_rounding --method.args.no-rounding
    train $setting ablation/cell_full_keep --method.args.cell full --method.args.zero-bits keep
    train $setting ablation/prior_times_10 --method.args.prior $(prior $setting 10)
    train $setting ablation/prior_over_10 --method.args.prior $(prior $setting 0.1)
    train $setting ablation/empirical --method.args.fisher empirical
    # a batch of 64 squares to about 1/64 of its examples' mean square
    train $setting ablation/batch --method.args.fisher batch --method.args.prior $(prior $setting 0.015625)
    $lifeq report $runs/$setting/ablation/* --out results/blip_mnist/${setting}_ablation
  done
}

# the prior of a setting's recipe times a factor
prior() {
  local own
  own=$($lifeq train blip/${1}_mlp --keys | sed -n '/method.args.prior /{n;s/.*default: \([^)]*\)).*/\1/p}')
  awk "BEGIN { print $own * $2 }"
}

growth() {
  train pmnist_shared growth --data.num-tasks 20 --stages.0.epochs 1
}

"${STEP:-final}"

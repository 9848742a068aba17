#!/usr/bin/env bash
# BLIP and its baselines on MNIST, a perceptron with 1200 hidden units, 20 epochs a task, seeds 0 to 2; `make blip`.
# Images: data/mnist/{train,test}/<digit>/<file>. Run again, it resumes.
#   mnist5          five tasks of two digits, a head for each, all images; rate 0.01, no momentum
#   pmnist          ten permutations, a head for each, every tenth training and fifth test image; rate and
#                   momentum the same
#   pmnist_shared   the same with one head for all tasks and momentum 0.9
# SETTING=NAME takes one of them. STEP=search: settings of the methods, seed 0, scored on held-out training images.
# STEP=ablation: what of BLIP matters: cell, zero bits, prior, Fisher information; seed 0. STEP=growth: twenty tasks.
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
  local csv=$tenth
  if [ "$setting" = mnist5 ]; then csv=data/mnist5/mnist; fi
  $lifeq train configs/blip/${setting}_mlp.py --run "$runs/$setting/$name" --data.csv $csv --stages.0.epochs 20 \
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
      train $setting search/blip_$prior $held_out --method.args.prior $prior
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
    $lifeq report $runs/$setting/*/seed* --out results/blip_mnist/$setting
  done
}

"${STEP:-final}"

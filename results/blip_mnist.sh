#!/usr/bin/env bash
# BLIP and its baselines on MNIST, a perceptron with 1200 hidden units, seeds 0 to 2; `make blip`. Images: data/mnist/{train,test}/
# <digit>/<file>. Run again, it resumes.
#   mnist5           five tasks of two digits, a head for each, all images; rate 0.01, no momentum, 20 epochs
#   pmnist           ten permutations, a head for each, every sixth image; the same rate, momentum and epochs
#   pmnist_shared    the same with one head for all tasks, momentum 0.9
#   STEP=search      settings of each method, seed 0, 10 epochs, scored on held-out training images
#   STEP=ablation    what of BLIP matters: cell, zero bits, prior, Fisher information; seed 0
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
runs=runs/blip_mnist
sixth=data/pmnist_sixth/mnist
export XLA_FLAGS="${XLA_FLAGS:-} --xla_cpu_multi_thread_eigen=false"

if [ ! -e data/mnist5/mnist_train0.csv ]; then
  $lifeq data sequence mnist5 --root data/mnist --csv data/mnist5/mnist
fi
if [ ! -e ${sixth}_train0.csv ]; then
  $lifeq data sequence pmnist --root data/mnist --csv data/pmnist/mnist
  mkdir -p "${sixth%/*}"
  awk 'NR == 1 || NR % 6 == 2' data/pmnist/mnist_train0.csv > ${sixth}_train0.csv
  cp data/pmnist/mnist_test0.csv ${sixth}_test0.csv
fi

# train SETTING NAME EPOCHS OVERRIDES...: fixed epochs in place of patience, so that every method takes the same steps
train() {
  local setting=$1 name=$2 epochs=$3
  shift 3
  local recipe=$setting csv=$sixth
  if [ "$setting" = mnist5 ]; then csv=data/mnist5/mnist; fi
  $lifeq train configs/blip/${recipe}_mlp.py --run "$runs/$setting/$name" --data.csv $csv --stages.0.epochs "$epochs" \
    --optimizer.patience 0 --selection last --evaluate-every 0 --checkpoint-every 10 "$@"
}

search() {
  local common="--data.evaluate-on validation"
  for setting in ${SETTING:-pmnist pmnist_shared}; do
    train $setting search/finetune 10 $common --method.name finetune
    for strength in 10 100 1000; do
      train $setting search/ewc_$strength 10 $common --method.name ewc --method.args.strength $strength
    done
    for strength in 0.5 2; do
      train $setting search/lwf_$strength 10 $common --method.name lwf --method.args.strength $strength
    done
    for strength in 0.01 1; do
      train $setting search/imm_$strength 10 $common --method.name imm --method.args.strength $strength
    done
    local priors="1e-11 1e-10 1e-9"
    if [ $setting = pmnist_shared ]; then priors="3e-9 6e-9 1e-8"; fi
    for prior in $priors; do
      train $setting search/blip_$prior 10 $common --method.args.prior $prior
    done
  done
}

"${STEP:-final}"

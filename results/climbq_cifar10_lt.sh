#!/usr/bin/env bash
# Quantizers and losses on CIFAR-10-LT: a ResNet-20 of half the width on 16x16 images at 4 and 2 bits, from one float
# network for each imbalance and seed, seeds 0 to 2; `make climbq`. Images: data/cifar10/{train,test}/<class>/<file>; data/cifar10_lt holds
# the CSV files of ClimbQ's authors (cifar10_train10.csv, cifar10_train200.csv, cifar10_test.csv of their repository).
# Run again, it resumes. GAMMAS and SEEDS choose a part of it; the reports are written when all of it is there.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
recipe=climbq/resnet20_cifar10_lt_short
runs=runs/climbq_cifar10_lt

$lifeq data prepare --root data/cifar10_16 --source folder --from data/cifar10 --size 16

unscaled=(--act-quantizer.args.ratio none)
uniform=(--weight-quantizer.name minmax --act-quantizer.name activation)

for gamma in ${GAMMAS:-10 200}; do
  # about as many images in all: an epoch has 20,425 of them at gamma 10 and 11,199 at gamma 200
  if [ "$gamma" = 10 ]; then epochs=1; else epochs=2; fi
  for seed in ${SEEDS:-0 1 2}; do
    common=(--data.csv "data/cifar10_lt/cifar10_train$gamma.csv" --seed "$seed")
    $lifeq train $recipe --run "$runs/gamma$gamma/float_$seed" "${common[@]}" --start "" "${uniform[@]}" \
      --loss.name cross_entropy --stages.0.name w32a32 --stages.0.weight-bits 32 --stages.0.act-bits 32 \
      --stages.0.epochs $((6 * epochs)) --stages.0.learning-rate 0.1 --optimizer.weight-decay 5e-4
    for bits in 4 2; do
      run() {
        local name=$1
        shift
        $lifeq train $recipe --run "$runs/gamma$gamma/w${bits}a$bits/${name}_$seed" "${common[@]}" \
          --start "$runs/gamma$gamma/float_{seed}" --stages.0.name "w${bits}a$bits" \
          --stages.0.weight-bits "$bits" --stages.0.act-bits "$bits" --stages.0.epochs "$epochs" "$@"
      }
      run uniform "${uniform[@]}" --loss.name cross_entropy
      run cdf "${unscaled[@]}" --loss.name cross_entropy
      run cdf_scaled --loss.name cross_entropy
      run cdf_class --loss.name cross_entropy --act-quantizer.args.ratio class --reestimation-batches 20
      run homovar --stages.0.learning-rate 0.5
      for loss in class_balanced focal ldam balanced_softmax; do
        run $loss --loss.name $loss
      done
    done
  done
done

# the four largest classes are many-shot, the three smallest few-shot
report() {
  for bits in w4a4 w2a2; do
    $lifeq report "$runs/gamma$1/$bits"/* --many "$2" --few "$3" --out "results/climbq_cifar10_lt/gamma$1_$bits"
  done
}
if [ -z "${GAMMAS:-}${SEEDS:-}" ]; then
  report 10 2000 1000
  report 200 800 100
fi

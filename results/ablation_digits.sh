#!/usr/bin/env bash
# Every method on scikit-learn's digits at 4 bits, five seeds; `make ablation`. Run again, it goes on where it stopped.
# Three tasks of 4 classes, 75 % of them replaced with each, 20 % replay. How strengths were chosen: results/LOG.md.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
seeds=${SEEDS:-0 1 2 3 4}
csv=data/digits_075/digits

$lifeq data prepare --root data/digits
$lifeq data lifelong --root data/digits --csv $csv --tasks 3 --diminish-rate 75
$lifeq data replay --csv $csv --tasks 3 --rate 20

run() { # name, then what differs from the recipe
  local name=$1
  shift
  $lifeq train lifequant/resnet20_digits --run "runs/ablation_digits/$name/seed$seed" --name "$name" \
    --seed "$seed" --data.csv $csv --evaluate-every 0 --checkpoint-every 100 "$@"
}

plain=(--loss.name cross_entropy --method.name)
for seed in $seeds; do
  run finetune "${plain[@]}" finetune --data.no-replay --importance-data train
  run finetune_replay "${plain[@]}" finetune
  run ewc "${plain[@]}" ewc --method.args.strength 0.1
  run mas "${plain[@]}" mas --method.args.strength 0.001
  run si "${plain[@]}" si --method.args.strength 1
  run rwalk "${plain[@]}" rwalk --method.args.strength 1
  run scp "${plain[@]}" scp --method.args.strength 0.001
  run lifequant
  run lifequant_without_proxq --weight-quantizer.name minmax --method.args.prox 0 --method.args.space latent \
    --method.args.limit 5
  run lifequant_without_ball --loss.name cross_entropy --method.args.loss cross_entropy
  run lifequant_without_importance --method.args.strength 0
done
$lifeq report runs/ablation_digits/*/seed* --out results/ablation_digits

#!/usr/bin/env bash
# BLIP and fine-tuning on two Atari games at 42x42, kung fu master and then krull, seed 1, 30 games an evaluation; about 45
# minutes a method on two busy cores. Needs `.venv/bin/pip install -e '.[rl]'`. Run again, it resumes. METHODS=blip: one method.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
runs=runs/blip_atari
out=results/blip_atari
methods=${METHODS:-blip finetune}

blip=
finetune="--method.name finetune"

for method in $methods; do
  $lifeq train blip_rl/atari_pair_42 --run "$runs/$method" --seed 1 --keep task ${!method}
done
$lifeq report $(printf "$runs/%s " $methods) --out $out
for method in $methods; do
  $lifeq render "$runs/$method" --task 0 --after-task 0 --steps 300 --out "$out/${method}_kung_fu_master_learned.gif"
  $lifeq render "$runs/$method" --task 0 --steps 300 --out "$out/${method}_kung_fu_master_in_the_end.gif"
  $lifeq render "$runs/$method" --task 1 --steps 300 --out "$out/${method}_krull.gif"
done

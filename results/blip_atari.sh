#!/usr/bin/env bash
# BLIP and fine-tuning on two Atari games at 42x42, kung fu master and then krull, seed 1, 30 games an evaluation; an hour on
# two cores. Needs `.venv/bin/pip install -e '.[rl]'`. Run again, it resumes.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
runs=runs/blip_atari
out=results/blip_atari
recipe=blip_rl/atari_pair_42

$lifeq train $recipe --run $runs/blip --seed 1 --keep task
$lifeq train $recipe --run $runs/finetune --seed 1 --keep task --method.name finetune
$lifeq report $runs/blip $runs/finetune --out $out
for task in 0 1; do # what both games have left of the agent in the end
  for method in blip finetune; do
    $lifeq render $runs/$method --task $task --steps 300 --out $out/${method}_game_$task.gif
  done
done

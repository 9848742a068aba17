#!/usr/bin/env bash
# BLIP and its baselines on MinAtar, breakout and then space invaders, seeds 0 to 4. Needs `.venv/bin/pip install -e '.[rl]'`.
# Run again, it resumes.
#   alone/breakout, alone/space_invaders   each game by itself: what the others are measured by
#   finetune, frozen, ewc, blip            the two games, one after the other
# STEP=search: prior of BLIP and strength of EWC, seeds 10 and 11, other seeds than those of the result.
set -euo pipefail
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
runs=runs/blip_minatar
recipe=blip_rl/minatar_pair

# the original's EWC but for its strength: lambda 5000 and a factor 1/2
ewc="--method.name ewc --method.args.fisher sampled_batch --method.args.history online"

# train NAME SEEDS OVERRIDES...
train() {
  local name=$1 seeds=$2
  shift 2
  $lifeq train $recipe --run "$runs/$name" --seeds "$seeds" "$@"
}

search() {
  train search/finetune 10,11 --method.name finetune
  for prior in 1.92e-14 1e-11 1e-9; do
    train search/blip_$prior 10,11 --method.args.prior $prior
  done
  for strength in 2500 10000 100000; do
    train search/ewc_$strength 10,11 $ewc --method.args.strength $strength || echo "strength $strength diverges"
  done
  $lifeq report "$runs"/search/* --out results/blip_minatar/search
}

# the settings that search found: results/LOG.md
final() {
  local seeds=0,1,2,3,4
  for game in breakout space_invaders; do
    train alone/$game $seeds --method.name finetune --games.names minatar/$game
  done
  train finetune $seeds --method.name finetune
  train frozen $seeds --method.name frozen
  train ewc $seeds $ewc --method.args.strength 100000
  train blip $seeds --method.args.prior 1e-9
  $lifeq report "$runs"/{finetune,frozen,ewc,blip} "$runs"/alone/* --out results/blip_minatar
}

case ${STEP:-final} in
search) search ;;
*) final ;;
esac

#!/usr/bin/env bash
# Every benchmark on this machine: numbers as JSON, tables on one page. Nothing else should run meanwhile. Another machine
# gets a folder of its own, a GPU more steps a repeat: OUT=results/bench/gpu SCALE=25 results/bench.sh
# Where PyTorch, Brevitas or qwix is installed, our steps run beside theirs.
set -euo pipefail
python=${PYTHON:-.venv/bin/python}
out=${OUT:-results/bench}
scale=${SCALE:-1}
errors=$(mktemp)
found=$(mktemp -d) # the page names the commit, so nothing that is committed may change before the last benchmark

measure() { # name of the JSON file, then the benchmark
  local name=$1
  shift
  echo "bench $*" >&2
  printf '\n`python -m benchmarks %s`\n\n' "$*" >> "$found/README.md"
  if ! $python -m benchmarks "$@" --json "$found/$name.json" >> "$found/README.md" 2> "$errors"; then
    printf 'Did not run: `%s`\n' "$(tail -n 1 "$errors")" >> "$found/README.md" # too little memory, or no peer
  fi
}

cat > "$found/README.md" << 'END'
# Speed on one machine

Written by `results/bench.sh`. Variants take turns; all numbers are medians, ratios those of one repeat. "again" marks a
control: the same program measured once more, whose ratio says how far from 1 noise alone leads.
END
measure step_resnet20_128 step --steps $((2 * scale))
measure step_resnet20_1024 step --batch-size 1024 --steps $scale --repeats 5
measure step_mobilenet_v2_128 step --model mobilenet_v2_32 --steps $scale --repeats 5
measure step_mobilenet_v2_1024 step --model mobilenet_v2_32 --batch-size 1024 --steps $scale --repeats 3
measure gradients gradients --model mobilenet_v2_32 --steps $scale --repeats 5
measure epoch epoch --batch-size 128 --steps $((4 * scale))
measure epoch_mlp epoch --model mlp --batch-size 128 --steps $((100 * scale))
measure seeds seeds --steps $((2 * scale)) --repeats 5
measure input input
measure compile compile
measure fisher fisher --steps $scale --repeats 5
measure oscillation oscillation oscillations/mobilenet_v2_cifar10 --steps $((4 * scale))
measure games games blip_rl/atari_pair_42
measure games_gpu games blip_rl/atari_six_gpu --repeats 3 --steps 1
for over in batch width methods seeds rows runs cells; do
  measure growth_$over growth $over
done
measure peers_resnet20 peers --steps $((2 * scale))
measure peers_mobilenet_v2 peers --model mobilenet_v2_32 --steps $scale --repeats 5
mkdir -p "$out"
cp "$found"/* "$out"

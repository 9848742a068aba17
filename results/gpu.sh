#!/usr/bin/env bash
# What a machine with a GPU is asked, most valuable first, in pieces of at most PIECE (480) seconds. Run again, it goes on: a
# piece that has ended is not repeated, training that was cut off resumes, and a benchmark that was cut off begins anew.
# Images: data/cifar10 and data/mnist, {train,test}/<class>/<file>; without them the training pieces say so and are left out.
# TRY=1 makes every piece as small as it gets, to see on any machine that the commands are right.
set -euo pipefail
python=${PYTHON:-.venv/bin/python}
lifeq=${LIFEQ:-.venv/bin/lifeq-jax}
out=${OUT:-results/gpu}
runs=${RUNS:-runs/gpu}
cifar=$runs/cifar10_025/cifar10
whole=$runs/cifar10_1/cifar10
long_tail=$runs/cifar10_lt/cifar10
pairs=$runs/mnist5/mnist
mkdir -p "$out"

piece() { # name, command...
  local name=$1 code=0
  shift
  if [ -e "$out/$name.done" ]; then return; fi
  echo "$name: $*" >&2
  timeout --signal=INT --kill-after=20 "${PIECE:-480}" "$@" > "$out/$name.txt" 2>&1 || code=$?
  if [ $code = 0 ]; then
    date -u > "$out/$name.done"
  else
    echo "$name: exit code $code, $(tail -n 1 "$out/$name.txt")" >&2
  fi
}

measure() { # name, benchmark and its options
  local name=$1
  shift
  piece "$name" "$python" -m benchmarks "$@" --json "$out/$name.json"
}

has_images() { # set, name of the piece that wants them
  if [ ! -d "data/$1/train" ]; then
    echo "$2: data/$1 holds no images" >&2
    return 1
  fi
}

chain() { # name, CSV files, recipe and its options
  local name=$1 csv=$2
  shift 2
  piece "$name" "$lifeq" train "$@" --run "$runs/$name" --data.csv "$csv" --evaluate-every 0
}

lifelong() { # name, options of LifeQuant's recipe
  local name=$1
  shift
  if ! has_images cifar10 "$name"; then return; fi
  if [ ! -e ${cifar}_replay2.csv ]; then
    $lifeq data lifelong --root data/cifar10 --csv $cifar --tasks 3 --diminish-rate 25
    $lifeq data replay --csv $cifar --tasks 3 --rate 20
  fi
  chain "$name" $cifar lifequant/resnet20_cifar10_ll --seeds $seeds $short "$@"
}

unbalanced() { # name, options of ClimbQ's recipe
  local name=$1
  shift
  if ! has_images cifar10 "$name"; then return; fi
  if [ ! -e ${long_tail}_train10.csv ]; then $lifeq data longtail --root data/cifar10 --csv $long_tail --gamma 10; fi
  chain "$name" ${long_tail}_train10.csv climbq/resnet20_cifar10_lt --seeds $seeds $fifty "$@"
}

digits() { # name, options of BLIP's recipe
  local name=$1
  shift
  if ! has_images mnist "$name"; then return; fi
  if [ ! -e ${pairs}_train4.csv ]; then $lifeq data sequence mnist5 --root data/mnist --csv $pairs; fi
  chain "$name" $pairs blip/mnist5_mlp --seeds $seeds $most "$@"
}

# Seconds to 94 % on the test images of CIFAR-10, in float and then at 4 bits; the far goal is airbench's 2.6 seconds of an A100.
goal() { # name, options
  local name=$1
  shift
  if ! has_images cifar10 "$name"; then return; fi
  if [ ! -e ${whole}_train0.csv ]; then $lifeq data lifelong --root data/cifar10 --csv $whole --tasks 1; fi
  measure "$name" goal lifequant/resnet20_cifar10_ll --accuracy 94 --data.csv $whole --data.num-tasks 1 \
    --data.replay false --method.name finetune --loss.name cross_entropy --optimizer.schedule cosine \
    --optimizer.weight-decay 5e-4 --stages.0.learning-rate 0.1 "$@"
}

if [ "${TRY:-}" ]; then
  few="--repeats 1 --steps 1" many="--repeats 1 --steps 1" network="--model mlp" batches="2"
  short="--stages.0.epochs 1 --stages.1.epochs 1 --stages.2.epochs 1 --data.batch-size 4096" seeds=0
  fifty="--stages.0.epochs 1 --stages.1.epochs 1 --data.batch-size 4096" most="--stages.0.epochs 1"
  best="$short --model.name mlp"
else
  few="--repeats 5 --steps 25" many="--repeats 5 --steps 50" network="" batches="128 1024"
  short="" seeds=0,1,2,3,4
  fifty="--stages.0.epochs 50 --stages.1.epochs 50" most=""
  best="--model.name resnet18_32 --stages.0.epochs 24 --stages.1.epochs 1 --stages.2.epochs 8"
fi

for precision in float32 bfloat16; do
  for batch in $batches; do
    measure step_resnet20_${batch}_$precision step $network --batch-size $batch --precision $precision $few
    measure peers_${batch}_$precision peers --batch-size $batch --precision $precision $few
  done
done
measure seeds seeds $network --batch-size ${batches%% *} $many
measure epoch epoch $network --batch-size ${batches%% *} $many
lifelong lifequant_cifar10
lifelong finetune_cifar10 --method.name finetune --loss.name cross_entropy
unbalanced climbq_cifar10_lt
unbalanced cross_entropy_cifar10_lt --loss.name cross_entropy
digits blip_mnist5
digits finetune_mnist5 --method.name finetune
goal goal_float32 $best
goal goal_bfloat16 $best --precision bfloat16
for batch in $batches; do
  measure step_mobilenet_v2_$batch step ${network:---model mobilenet_v2_32} --batch-size $batch $few
done
for over in batch methods seeds; do
  measure growth_$over growth $over $network $few
done
measure growth_width growth width --batch-size ${batches%% *} $few
measure games games blip_rl/atari_six_gpu --repeats 1 --steps 1
lifelong lifequant_cifar10_bfloat16 --precision bfloat16

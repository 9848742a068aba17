"""BLIP on the six Atari games of its paper, 10,000,000 steps of play each.

    pip install 'lifeq_jax[rl]'
    lifeq-jax train configs/blip_rl/atari_six.py

Paper: BLIP, CVPR 2021, whose figures we could not read. Original: RL/src, run_blip.sh; 16 environments and 125 steps a
rollout, 4 passes of 8 minibatches, learning rate 2.5e-4 falling to 0, Adam's epsilon 1e-5, gradients of norm 0.5 at
most, F_prior 5e-18 for a Fisher divided by 62^2, here 1.92e-14. A weight without information becomes 0 there
(--method.args.zero_bits zero), and the agent is never scored after the last game's quantization; here it is.
EWC: --method.name ewc --method.args.strength 2500 --method.args.fisher sampled_batch --method.args.history online.
About 15 hours a game on two cores by an estimate: not run.
Ours: results/targets.csv, row blip_rl/atari_six."""

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.game_recipe import GameRecipe, Games

recipe = GameRecipe(
    name="blip_rl_atari_six",
    games=Games(
        names=(
            "atari/kung_fu_master",
            "atari/boxing",
            "atari/jamesbond",
            "atari/krull",
            "atari/riverraid",
            "atari/space_invaders",
        ),
        image=(84, 84, 4),
        updates=50,
        num_envs=16,
        rollout_steps=125,
        passes=4,
        minibatches=8,
        episodes=10,
    ),
    model=Part("atari"),
    stages=(Stage("float", weight_bits=32, act_bits=32, epochs=100, learning_rate=2.5e-4),),
    method=Part("blip", {"prior": 1.92e-14, "widest": True, "head": False, "zero_bits": "keep"}),
    evaluate_every=20,
)

"""BLIP on the six Atari games of its paper on a machine with a GPU and 16 cores: 2,048,000 steps of play each.

    pip install 'lifeq_jax[cuda,rl]'
    lifeq-jax train configs/blip_rl/atari_six_gpu.py

Paper: BLIP, CVPR 2021, whose figures we could not read. As configs/blip_rl/atari_six.py, a fifth of its steps, in 64
environments at once, so that the emulator keeps 16 cores busy. About 2 to 3 minutes of emulation a game by an
estimate (1,000 to 1,400 steps a second and core): not run.
Ours: results/targets.csv, row blip_rl/atari_six_gpu."""

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.game_recipe import GameRecipe, Games

recipe = GameRecipe(
    name="blip_rl_atari_six_gpu",
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
        updates=32,
        num_envs=64,
        rollout_steps=125,
        passes=4,
        minibatches=8,
        episodes=16,
    ),
    model=Part("atari"),
    stages=(Stage("float", weight_bits=32, act_bits=32, epochs=8, learning_rate=5e-4),),
    method=Part("blip", {"prior": 1.92e-14, "widest": True, "head": False, "zero_bits": "keep"}),
    evaluate_every=0,
)

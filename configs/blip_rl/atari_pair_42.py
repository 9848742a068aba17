"""BLIP on two Atari games at 42x42: boxing, then space invaders; about an hour on two cores.

    pip install 'lifeq_jax[rl]'
    lifeq-jax train configs/blip_rl/atari_pair_42.py

Not in the paper (BLIP, CVPR 2021), whose frames are 84x84 and whose games last 10,000,000 steps. Here 1,048,576 steps a
game, two convolutions of half the features and 256 linear features, a higher learning rate and a wider clip; prior as
configs/blip_rl/minatar_pair.py.
Ours: results/targets.csv, row blip_rl/atari_pair_42."""

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.game_recipe import GameRecipe, Games

recipe = GameRecipe(
    name="blip_rl_atari_pair_42",
    games=Games(
        names=("atari/boxing", "atari/space_invaders"),
        image=(42, 42, 4),
        updates=64,
        num_envs=16,
        rollout_steps=64,
        passes=3,
        minibatches=4,
        clip=0.2,
        episodes=30,
    ),
    model=Part("atari", {"mul": 0.5, "convolutions": 2, "hidden": 256}),
    stages=(Stage("float", weight_bits=32, act_bits=32, epochs=16, learning_rate=7e-4),),
    method=Part("blip", {"prior": 1.92e-14, "head": False, "zero_bits": "keep"}),
    evaluate_every=0,
)

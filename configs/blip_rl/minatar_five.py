"""BLIP on the five MinAtar games, one after the other; a quarter of an hour on two cores.

    pip install 'lifeq_jax[rl]'
    lifeq-jax train configs/blip_rl/minatar_five.py

Not in the paper (BLIP, CVPR 2021), whose agents play Atari. 327,680 steps of play a game; the network of MinAtar's
paper; the rest as configs/blip_rl/minatar_pair.py.
Ours: results/targets.csv, row blip_rl/minatar_five."""

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.game_recipe import GameRecipe, Games

recipe = GameRecipe(
    name="blip_rl_minatar_five",
    games=Games(
        names=("minatar/breakout", "minatar/space_invaders", "minatar/asterix", "minatar/freeway", "minatar/seaquest"),
        image=(10, 10, 10),
        updates=20,
        num_envs=64,
        rollout_steps=32,
        passes=3,
        minibatches=8,
        episodes=128,
        max_steps=2600,
    ),
    model=Part("minatar", {"hidden": 128}),
    stages=(Stage("float", weight_bits=32, act_bits=32, epochs=8, learning_rate=1e-3),),
    method=Part("blip", {"prior": 1.92e-14, "head": False, "zero_bits": "keep"}),
    evaluate_every=0,
)

"""BLIP on two MinAtar games: breakout, then space invaders; minutes on two cores.

    pip install 'lifeq_jax[rl]'
    lifeq-jax train configs/blip_rl/minatar_pair.py

Not in the paper (BLIP, CVPR 2021), whose agents play Atari. 327,680 steps of play a game; the network of MinAtar's
paper with 64 linear features; learning rate and PPO's constants ours, prior of the original's agents: F_prior 5e-18
for a Fisher divided by 62^2, here 1.92e-14. Baselines: --method.name finetune | ewc | frozen; each game alone:
--games.names minatar/breakout, with another --run. All of them and the search: results/blip_minatar.sh.
Ours: results/targets.csv, row blip_rl/minatar_pair."""

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.core.game_recipe import GameRecipe, Games

recipe = GameRecipe(
    name="blip_rl_minatar_pair",
    games=Games(
        names=("minatar/breakout", "minatar/space_invaders"),
        image=(10, 10, 6),
        updates=20,
        num_envs=64,
        rollout_steps=32,
        passes=3,
        minibatches=8,
        episodes=128,
        max_steps=1000,
    ),
    model=Part("minatar", {"hidden": 64}),
    stages=(Stage("float", weight_bits=32, act_bits=32, epochs=8, learning_rate=1e-3),),
    method=Part("blip", {"prior": 1.92e-14, "head": False, "zero_bits": "keep"}),
    evaluate_every=0,
)

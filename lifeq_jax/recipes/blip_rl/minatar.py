"""BLIP on MinAtar games, one after the other: two in minutes, five in a quarter of an hour on two cores.

    pip install 'lifeq_jax[rl]'
    lifeq-jax train blip_rl/minatar_pair

Not in the paper (BLIP, CVPR 2021), whose agents play Atari. 327,680 steps of play a game; the network of MinAtar's
paper (the pair: with 64 linear features); learning rate and PPO's constants ours, prior of the original's agents:
F_prior 5e-18 for a Fisher divided by 62^2, here 1.92e-14. Baselines: --method.name finetune | ewc | frozen; each game
alone: --games.names minatar/breakout, with another --run. All of them and the search: results/blip_minatar.sh.
Ours: results/targets.csv."""

from lifeq_jax import GameRecipe, Games, Part, Stage

minatar_pair = GameRecipe(
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
"""BLIP: MinAtar's breakout, then space invaders; minutes on 2 cores"""

_FIVE = ("minatar/breakout", "minatar/space_invaders", "minatar/asterix", "minatar/freeway", "minatar/seaquest")
minatar_five = minatar_pair.replace(
    {
        "name": "blip_rl_minatar_five",
        "games.names": _FIVE,
        "games.image": (10, 10, 10),
        "games.max_steps": 2600,
        "model.args.hidden": 128,
    }
)
"""BLIP: the five MinAtar games; a quarter of an hour on 2 cores"""

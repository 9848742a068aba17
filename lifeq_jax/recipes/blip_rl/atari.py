"""BLIP on Atari games: the six of its paper, 10,000,000 steps of play each; in short for a GPU; two on two cores.

    pip install 'lifeq_jax[rl]'
    lifeq-jax train blip_rl/atari_pair_42

Paper: BLIP, CVPR 2021, whose figures we could not read. Original: RL/src, run_blip.sh; 16 environments and 125 steps a
rollout, 4 passes of 8 minibatches, learning rate 2.5e-4 falling to 0, Adam's epsilon 1e-5, gradients of norm 0.5 at
most, F_prior 5e-18 for a Fisher divided by 62^2, here 1.92e-14. A weight without information becomes 0 there
(--method.args.zero_bits zero), and the agent is never scored after the last game's quantization; here it is.
EWC: --method.name ewc --method.args.strength 2500 --method.args.fisher sampled_batch --method.args.history online.

atari_six:     as the paper; about 15 hours a game on two cores by an estimate: not run.
atari_six_gpu: a fifth of the steps, 2,048,000 a game, in 64 environments at once, so that the emulator keeps 16 cores
               busy; about 2 to 3 minutes of emulation a game by an estimate (1,000 to 1,400 steps a second and core):
               not run.
atari_pair_42: kung fu master, then krull, at 42x42; 393,216 steps a game, 45 minutes on two busy cores. Two
               convolutions of half the features and 256 linear features, a higher learning rate and a wider clip.
               Scores are of drawn actions: so short a training leaves a policy whose most probable action alone gets
               stuck. With fine-tuning, curves and films: results/blip_atari.sh.
Ours: results/targets.csv."""

from lifeq_jax import GameRecipe, Games, Part, Stage

atari_six = GameRecipe(
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
"""BLIP: the six Atari games of its paper"""

atari_six_gpu = atari_six.replace(
    {
        "name": "blip_rl_atari_six_gpu",
        "games.updates": 32,
        "games.num_envs": 64,
        "games.episodes": 16,
        "stages.0.epochs": 8,
        "stages.0.learning_rate": 5e-4,
        "evaluate_every": 0,
    }
)
"""BLIP: the six Atari games, a fifth of the steps, for a GPU and 16 cores"""

atari_pair_42 = GameRecipe(
    name="blip_rl_atari_pair_42",
    games=Games(
        names=("atari/kung_fu_master", "atari/krull"),
        image=(42, 42, 4),
        updates=64,
        num_envs=16,
        rollout_steps=64,
        passes=3,
        minibatches=4,
        clip=0.2,
        episodes=30,
        greedy=False,
    ),
    model=Part("atari", {"mul": 0.5, "convolutions": 2, "hidden": 256}),
    stages=(Stage("float", weight_bits=32, act_bits=32, epochs=6, learning_rate=7e-4),),
    method=Part("blip", {"prior": 1.92e-14, "head": False, "zero_bits": "keep"}),
    evaluate_every=0,
)
"""BLIP: two Atari games at 42x42; three quarters of an hour on 2 cores"""

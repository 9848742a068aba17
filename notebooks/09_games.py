# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9. Games, one after the other
#
# BLIP's paper (Shi et al., CVPR 2021) lets an agent learn Atari games one after the other by proximal policy
# optimization, PPO (Schulman et al., 2017, equation 7), and freezes the bits that a game has used (notebook 6). Here
# are two small games that are compiled together with the agent and need no package. In `catch/catch` the paddle has
# to be where the ball lands, in `catch/dodge` anywhere else: the old policy is the worst there.
# The same lines train `lq.load_recipe("blip_rl/minatar_pair")`, MinAtar's Breakout and Space Invaders (`pip install
# 'lifeq_jax[rl]'`), which takes minutes for each seed.

# %% tags=["parameters"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lifeq_jax as lq

place = Path("..") if Path.cwd().name == "notebooks" else Path()  # of the repository
runs, figures = place / "runs/notebook_09", place / "docs/figures"
methods = {"finetune": lq.Part("finetune"), "blip": lq.Part("blip", {"prior": 1e-12, "head": False})}
epochs, updates = 6, 20  # of each game; rollouts of an epoch
seeds = (0, 1)

# %%
lq.fast_cpu()
figures.mkdir(parents=True, exist_ok=True)
recipe = lq.GameRecipe(
    name="catch_and_dodge",
    games=lq.Games(
        names=("catch/catch", "catch/dodge"),
        image=(6, 5, 1),
        updates=updates,
        num_envs=16,
        rollout_steps=32,
        episodes=32,
        max_steps=200,
    ),
    model=lq.Part("minatar", {"features": 8, "hidden": 32}),
    stages=(lq.Stage("float", 32, 32, epochs=epochs, learning_rate=3e-3),),
    method=lq.Part("finetune"),
)
found = {}
for name, method in methods.items():
    found[name] = lq.train_games(recipe.replace({"method": method}), runs / name, seeds, log=lambda line: None)

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for name, color in zip(found, ("#D55E00", "#0072B2"), strict=True):
    returns = np.array([[run.chance[:, 0], *run.matrix] for run in found[name].finished])
    for game, axes in enumerate(panels):
        values = returns[:, :, game]
        axes.plot(values.T, ".", color=color)
        axes.errorbar(range(3), values.mean(0), values.std(0, ddof=1), color=color, marker="D", capsize=4, label=name)
        axes.set(title=recipe.games.names[game], xlabel="agent", ylabel="mean return of a game")
        axes.set_xticks(range(3), ["random", "after game 1", "after game 2"])
panels[0].legend(frameon=False)
figure.savefig(figures / "09_returns.png", dpi=150)

# %% [markdown]
# **What to see.** The mean return of a game, for an agent that acts at random and after each of the two games; 20 is
# the most. Dots are seeds, diamonds mean and sample standard deviation. The agent is told which game it plays and has
# outputs of its own for each. Left: when the second game has been learned, fine-tuning plays the first no better than
# chance, and BLIP as well as before. Right: both learn the second game in full. BLIP's prior was chosen with other
# seeds (10 and 11). Two games this small leave most bits free, so this does not show how BLIP fares when capacity gets
# scarce.

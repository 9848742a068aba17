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
# # 3. BaLL: a loss for unbalanced tasks
#
# If a task has many images of some classes and few of others, cross-entropy favors the frequent ones. LifeQuant's
# balanced loss, BaLL, corrects the logits $z$ by the class sizes $n$ of the task. Its form `ball_log_prior` is
# balanced softmax (Ren et al., NeurIPS 2020, theorem 1): cross-entropy of $z_k + \log n_k$ in training, of $z_k$ in
# testing. `ball_scale` is the form that LifeQuant's program has; `help(lq.losses.ball_scale)` has its formula.

# %% tags=["parameters"]
from pathlib import Path

import lifeq_jax as lq

place = Path("..") if Path.cwd().name == "notebooks" else Path()  # of the repository
data, runs, figures = place / "data", place / "runs/notebook_03", place / "docs/figures"
gammas, rate = (1, 30), 0.2  # largest class over smallest; share of a task's images that is replayed
rates, gamma = (0.05, 0.5), 30  # and the other way round
losses = ["cross_entropy", "ball_log_prior"]
float_epochs, epochs = 5, 5  # at 32 bits on the first task, and at 4 bits on each
seeds = (0, 1)

# %%
lq.fast_cpu()
figures.mkdir(parents=True, exist_ok=True)
root, balanced = data / "digits", data / "notebooks/digits_075"
lq.tasks.prepare(root, "digits")
lq.tasks.lifelong(root, balanced, num_tasks=3, diminish_rate=0.75)
sets = {(one, rate): data / f"notebooks/gamma {one}, replay {rate:.0%}" for one in gammas}
sets |= {(gamma, one): data / f"notebooks/gamma {gamma}, replay {one:.0%}" for one in rates}
for (imbalance, share), csv in sets.items():
    lq.tasks.longtail_tasks(balanced, csv, num_tasks=3, gamma=imbalance)
    lq.tasks.replay(csv, num_tasks=3, rate=share)
recipe = lq.Recipe(
    name="ball",
    data=lq.datasets.digits(root=str(root), csv=str(balanced), num_tasks=3, batch_size=16, validation=0.2),
    model=lq.Part("mlp", {"hidden": 64, "layers": 2}),
    weight_quantizer=lq.Part("lsq"),
    stages=(
        lq.Stage("float", 32, 32, epochs=float_epochs, learning_rate=0.1, tasks=1),
        lq.Stage("w4a4", 4, 4, epochs=epochs, learning_rate=0.05),
    ),
    optimizer=lq.Optimizer(schedule="cosine"),
)

# %% [markdown]
# ## Imbalance
#
# In each of three tasks the class sizes fall from the largest to the smallest; gamma is their ratio. Test images do not
# fall off. The measure is balanced accuracy, the mean over classes, on test images, which choose nothing here.

# %%
swept = lq.sweep(recipe, {"data.csv": [str(sets[one, rate]) for one in gammas], "loss": losses}, runs, seeds, on="test")
picture = swept.plot("balanced_accuracy", by="data.csv", hue="loss")
picture.save(figures / "03_imbalance.png")
picture

# %% [markdown]
# **What to see.** Balanced accuracy at the end over all tasks, on test images. Small markers are seeds; large ones
# mean and sample standard deviation. BaLL is ahead at both imbalances. It is so even at gamma 1, since replay
# brings back a fifth of the old classes' images and so makes every later task unbalanced.

# %%
swept

# %% [markdown]
# ## Replay rate

# %%
shares = sorted({rate, *rates})
swept = lq.sweep(
    recipe, {"data.csv": [str(sets[gamma, one]) for one in shares], "loss": losses}, runs, seeds, on="test"
)
picture = swept.plot("balanced_accuracy", by="data.csv", hue="loss")
picture.save(figures / "03_replay.png")
picture

# %% [markdown]
# **What to see.** The same at one imbalance, for three rates of replay. The less is replayed, the more BaLL gains.

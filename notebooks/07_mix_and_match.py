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
# # 7. Mix and match: quantizer x method x loss
#
# Any weight quantizer goes with any continual-learning method and any loss. One `lq.sweep` trains the whole grid,
# with several seeds in each cell, and measures on validation images. What cells have in common is trained once. If it
# is stopped, the same cell goes on; values and seeds can be added later.

# %% tags=["parameters"]
from pathlib import Path

import lifeq_jax as lq

place = Path("..") if Path.cwd().name == "notebooks" else Path()  # of the repository
data, runs, figures = place / "data", place / "runs/notebook_07", place / "docs/figures"
float_epochs, epochs = 5, 4  # at 32 bits on the first task, and at 3 bits on each
quantizers = ["proxq", "lsq"]
methods = ["finetune", ("lifequant", {"strength": 100.0, "prox": 0.0})]
losses = ["cross_entropy", "ball_log_prior"]
seeds = (0, 1)

# %% [markdown]
# Three tasks of scikit-learn's digits; each replaces three quarters of the classes, and every task has a long tail of
# its own (the largest class has ten times as many images as the smallest). A fifth is replayed.

# %%
lq.fast_cpu()
figures.mkdir(parents=True, exist_ok=True)
root, balanced, csv = data / "digits", data / "notebooks/digits_075", data / "notebooks/digits_075_lt"
lq.tasks.prepare(root, "digits")
lq.tasks.lifelong(root, balanced, num_tasks=3, diminish_rate=0.75)
lq.tasks.longtail_tasks(balanced, csv, num_tasks=3, gamma=10)
lq.tasks.replay(csv, num_tasks=3, rate=0.2)
recipe = lq.Recipe(
    name="mix_and_match",
    data=lq.datasets.digits(root=str(root), csv=str(csv), num_tasks=3, batch_size=16, validation=0.2),
    model=lq.Part(f"{place / 'examples/small_cnn.py'}:small_cnn"),
    stages=(
        lq.Stage("float", 32, 32, epochs=float_epochs, learning_rate=0.1, tasks=1),
        lq.Stage("w3a3", 3, 3, epochs=epochs, learning_rate=0.05),
    ),
    optimizer=lq.Optimizer(schedule="cosine"),
)
grid = {"weight_quantizer": quantizers, "method": methods, "loss": losses}
swept = lq.sweep(recipe, grid, runs, seeds)
swept

# %% [markdown]
# In per cent, mean and sample standard deviation over the seeds. `swept.rows()` is the same for `pandas.DataFrame`, a
# row for each run.

# %%
picture = swept.plot("balanced_accuracy", by="weight_quantizer", hue="method")
picture.save(figures / "07_balanced_accuracy.png")
picture

# %% [markdown]
# **What to see.** Mean accuracy over classes at the end, all tasks. Small markers: seeds; large markers with bars:
# mean and sample standard deviation. Two markers whose bars overlap are not told apart by this experiment: so the two
# quantizers are not, at 3 bits, and the loss is what matters, since every task has a long tail.

# %%
picture = swept.plot("forgetting", by="weight_quantizer", hue="method")
picture.save(figures / "07_forgetting.png")
picture

# %% [markdown]
# **What to see.** Accuracy lost on earlier tasks, in points, drawn in the same way. The balanced loss cuts forgetting
# to a third or less, but the table says why one must look at learning accuracy too: it also learns each new task less
# well. LifeQuant's penalty forgets less than fine-tuning under cross-entropy, by about twice the spread of two
# seeds. Under the balanced loss it forgets less too and costs average accuracy, both by less than the spread.
# All accuracies are low: a few hundred images, a small network and a few epochs.

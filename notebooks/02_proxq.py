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
# # 2. ProxQ: weights in a standard space
#
# ProxQ, LifeQuant's weight quantizer, maps the weights $w$ of a layer to mean 0 and a fixed standard deviation,
# $\hat{w} = \frac{w - \mathrm{mean}(w)}{\mathrm{std}(w)} \cdot \frac{r}{4}$, and rounds them on a grid from $-r/2$ to
# $r/2$ that never changes ($r = 2$; `help(lq.quantizers.proxq)`). A proximal step also pulls the latent weights
# themselves toward that standard deviation (`help(lq.methods.lifequant)`). The claim: all tasks use the same grid, so
# a new task moves integers less. The comparison here is `minmax`, whose grid runs from the smallest to the largest
# weight of the layer and so moves with them. Everything else is the same, and neither network has a penalty against
# forgetting.

# %% tags=["parameters"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lifeq_jax as lq

place = Path("..") if Path.cwd().name == "notebooks" else Path()  # of the repository
data, runs, figures = place / "data", place / "runs/notebook_02", place / "docs/figures"
float_epochs, epochs = 5, 6  # at 32 bits on the first task, and at 4 bits on each
seeds = (0, 1)

# %%
lq.fast_cpu()
figures.mkdir(parents=True, exist_ok=True)
root, csv = data / "digits", data / "notebooks/digits_075"
lq.tasks.prepare(root, "digits")
lq.tasks.lifelong(root, csv, num_tasks=3, diminish_rate=0.75)
lq.tasks.replay(csv, num_tasks=3, rate=0.2)
recipe = lq.load_recipe("lifequant/resnet20_digits").replace(
    {
        "data": lq.datasets.digits(root=str(root), csv=str(csv), num_tasks=3, batch_size=16, validation=0.2),
        "model": lq.Part(f"{place / 'examples/small_cnn.py'}:small_cnn"),
        "method": lq.Part("lifequant", {"strength": 0.0}),
        "stages": (
            lq.Stage("float", 32, 32, epochs=float_epochs, learning_rate=0.1, tasks=1),
            lq.Stage("w4a4", 4, 4, epochs=epochs, learning_rate=0.05),
        ),
        "keep": "task",
    }
)
grid = {"weight_quantizer": ["proxq", "minmax"], "method": [("lifequant", {"strength": 0.0}), "finetune"]}
swept = lq.sweep(recipe, grid, runs, seeds)
swept

# %% [markdown]
# Validation images, mean and sample standard deviation over the seeds. `lifequant(strength=0.0)` is LifeQuant's
# proximal step alone, without its penalty; `finetune` has neither.
#
# ## The weights after each task

# %%
cells = {"ProxQ with proximal step": 0, "ProxQ": 1, "minmax": 3}
folders = {name: [row["folder"] for row in swept.rows()[len(seeds) * at :][: len(seeds)]] for name, at in cells.items()}
nets = {
    name: [[lq.trained(run, after_task=task) for run in found] for task in range(3)] for name, found in folders.items()
}
figure, panels = plt.subplots(2, 3, figsize=(11, 5.5), layout="constrained")
for column, (name, tasks) in enumerate(nets.items()):
    for task, color in enumerate(("#0072B2", "#D55E00", "#009E73")):
        latent = [np.ravel(net.params["down"]["conv"]["kernel"]) for net in tasks[task]]
        edges = np.linspace(-0.6, 0.6, 41)
        shares = [100 * np.histogram(values, edges)[0] / values.size for values in latent]
        panels[0, column].stairs(np.mean(shares, 0), edges, color=color, label=f"after task {task + 1}")
        codes = [np.ravel(net.codes["down/conv/kernel"].values) for net in tasks[task]]
        counts = 100 * np.array([np.bincount(values - values.min(), minlength=16) / values.size for values in codes])
        spread = counts.std(0, ddof=1)
        panels[1, column].errorbar(range(16), counts.mean(0), spread, color=color, marker=".", lw=0.8)
    panels[0, column].set(title=name, xlabel="latent weight", ylabel="weights, %")
    panels[1, column].set(xlabel="integer, 0: the lowest used", ylabel="weights, %")
panels[0, 0].legend(frameon=False, fontsize=8)
figure.savefig(figures / "02_weights.png", dpi=150)

# %% [markdown]
# **What to see.** The second convolution's weights after each task, mean over the seeds. Top: latent weights. They
# grow wider from task to task under every quantizer. Bottom: how many of them have each of the 16 integers, with the
# sample standard deviation over the seeds as bars. Under ProxQ the three curves lie on one another: whatever the
# latent weights do, the layer uses its integers in the same way after every task, the outermost two included. Under
# `minmax` the grid follows the two most extreme weights: most weights share five or six integers, the curve moves
# with the task, and it differs between seeds.
#
# **What it does not do.** A standard space fixes the distribution of a layer's integers, not which weight has which. It
# is no protection by itself: in the table above, the accuracy of the four combinations differs by less than the spread
# of two seeds, and their forgetting by hardly more. LifeQuant's protection is its penalty, which this notebook leaves
# out. The proximal step (left) lets latent weights grow a little faster toward its standard deviation of 0.5; their
# integers are the same as without it.

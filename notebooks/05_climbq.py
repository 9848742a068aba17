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
# # 5. ClimbQ: quantization for long-tailed data
#
# ClimbQ (*Class Imbalanced Quantization*, NeurIPS 2022) quantizes by a cumulative distribution function, so that all
# integers are used equally often, and weights the loss by class, *HomoVar*: Levene's test asks whether the features
# of all classes vary equally; solved for the class size, it gives an interval of sizes at which a class passes. The
# farther the size $n$ of a class is outside, the nearer its $\beta$ is to 1 and the smaller its weight, $(1 - \beta)
# / (1 - \beta^n)$ (`help(lq.losses.homovar)`). Equal variances mean that no class is cut off by the quantizer more
# than others.

# %% tags=["parameters"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lifeq_jax as lq

place = Path("..") if Path.cwd().name == "notebooks" else Path()  # of the repository
data, runs, figures = place / "data", place / "runs/notebook_05", place / "docs/figures"
gamma = 30  # images of the largest class over those of the smallest
float_epochs, epochs, rate = 12, 12, 0.1  # at 32 bits, and then at 4; learning rate
losses = ["cross_entropy", "homovar", "ldam", "balanced_softmax"]
few = 30  # training images; a class with fewer is few-shot
seeds = (0, 1)

# %%
lq.fast_cpu()
figures.mkdir(parents=True, exist_ok=True)
root, csv = data / "digits", data / "notebooks/digits_lt"
lq.tasks.prepare(root, "digits")
made = lq.tasks.longtail(root, csv, gamma=gamma)
print("training images of each class:", *made.sizes[0])
recipe = lq.load_recipe("climbq/resnet20_digits_lt").replace(
    {
        "data": lq.datasets.digits(root=str(root), csv=str(made.trains[0]), num_tasks=1, replay=False, batch_size=16),
        "model": lq.Part(f"{place / 'examples/small_cnn.py'}:small_cnn"),
        "stages.0.epochs": float_epochs,
        "stages.0.learning_rate": rate,
        "stages.1.epochs": epochs,
        "stages.1.learning_rate": rate,
    }
)
swept = lq.sweep(recipe, {"loss": losses}, runs, seeds, on="test")
swept

# %% [markdown]
# The test set is balanced. It chooses nothing here: all losses have their default settings.
#
# ## Few-shot classes

# %%
found = {loss: [row["folder"] for row in swept.rows() if row["loss"] == loss] for loss in losses}
few_shot = made.sizes[0] < few
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
for at, loss in enumerate(losses):
    classes = [run.classes for run in lq.read(*found[loss]).finished]
    for label, color, chosen in (("other classes", "#0072B2", ~few_shot), ("few-shot classes", "#D55E00", few_shot)):
        own = [100 * np.mean((one.correct / one.images)[0, chosen]) for one in classes]
        axes.plot([at] * len(own), own, "o", ms=4, color=color)
        axes.errorbar(at + 0.1, np.mean(own), np.std(own, ddof=1), fmt="D", capsize=4, color=color)
        axes.plot([], [], "D", color=color, label=None if at else label)
axes.set_xticks(range(len(losses)), losses)
axes.set(xlabel="loss", ylabel="accuracy, mean over classes, %")
axes.legend(frameon=False)
figure.savefig(figures / "05_few_shot.png", dpi=150)

# %% [markdown]
# **What to see.** Small markers: seeds. Diamonds: their mean and sample standard deviation. Balanced softmax more than
# doubles the accuracy of few-shot classes, for 9 points of the others. HomoVar with its default settings has not
# learned the task in so few steps: the paper's gain does not show here.
#
# ## Variances of the classes

# %%
stages = {"before, 32 bits": ("w32a32", "#0072B2"), "after, 4 bits": ("w4a4", "#D55E00")}
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
for label, (stage, color) in stages.items():
    spreads = []
    for folder in found["homovar"]:
        outputs, labels = lq.trained(folder, stage).outputs_of()
        variance = [outputs.feature[labels == one].var(axis=0).sum() for one in range(10)]
        spreads.append(variance / np.mean(variance))
    reach = np.std(spreads, axis=0, ddof=1)
    axes.errorbar(range(10), np.mean(spreads, axis=0), reach, marker="o", capsize=4, color=color, label=label)
axes.set(xlabel="class, most training images first", ylabel="variance of the features\n/ mean over classes")
axes.legend(frameon=False)
figure.savefig(figures / "05_variances.png", dpi=150)

# %% [markdown]
# **What to see.** The variance of each class's features on the test images, divided by the mean over classes: 1
# everywhere would be what Levene's test asks for. Mean and sample standard deviation over the seeds, before and after
# quantization, both with HomoVar. Quantization changes them by less than the spread in nearly all classes.

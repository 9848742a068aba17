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
# # 4. Oscillations: weights that jump between two integers
#
# In quantization-aware training the forward pass uses the rounded weight $q(w)$, and the gradient passes to the
# latent weight $w$ as if nothing had been rounded (straight-through estimator). If the best value of a weight lies
# between two points of the grid, the gradient pushes $w$ up while $q(w)$ is the lower point and down while it is the
# upper one. So $w$ stays at the threshold between them, and its integer jumps. Nagel et al., *Overcoming Oscillations
# in Quantization-Aware Training* (ICML 2022), count jumps back by a moving average $f^t = m\, o^t + (1 - m) f^{t-1}$,
# where $o^t = 1$ if the integer changed against its last direction, and offer two remedies. *Dampening* adds $\lambda
# \lVert q(w) - \mathrm{clip}(w) \rVert^2$ to the loss. *Freezing* fixes the integer of a weight whose $f$ exceeds a
# threshold. Jumps also spoil the running statistics of batch norm, which are therefore estimated anew after training.

# %% tags=["parameters"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import lifeq_jax as lq

place = Path("..") if Path.cwd().name == "notebooks" else Path()  # of the repository
data, runs, figures = place / "data", place / "runs/notebook_04", place / "docs/figures"
float_epochs, epochs, rate = 8, 8, 0.05  # at 32 bits, and then at 3; learning rate at 3 bits
controls = [("track", {"momentum": 0.01}), ("dampen", {"momentum": 0.01})]  # track counts jumps, and does nothing
controls += [("freeze", {"momentum": 0.01, "threshold": 0.04, "threshold_end": 0.015})]
steps, toy_steps, shown = 300, 400, 60  # of the trace, of the toy problem, and of these in the plot
seeds = (0, 1)

# %% [markdown]
# ## The toy problem
#
# One weight $w$ at a time: minimize $\frac{1}{2}(q(w) - w^*)^2$, with $w^*$ a tenth or three tenths of a step above a
# grid point.

# %%
lq.fast_cpu()
figures.mkdir(parents=True, exist_ok=True)
toy = lq.toy_runs(steps=toy_steps, distances=(0.1, 0.3), rates=(0.03, 0.1))
figure, panels = plt.subplots(1, len(toy.series), figsize=(11, 3), sharey=True, layout="constrained")
for axes, (name, series) in zip(panels, toy.series.items(), strict=True):
    for number, style in ((0, "-"), (1, "--")):
        label = f"best value {float(toy.distance[number]):.1f} above"
        axes.plot(range(toy_steps - shown, toy_steps), series.latent[0, -shown - 1 : -1, number], style, label=label)
    axes.axhline(toy.threshold, color="0.6", lw=0.8, ls=":")
    axes.set(title=name, xlabel="training step")
panels[0].set(ylabel="latent weight, steps of the grid")
panels[0].legend(frameon=False, fontsize=8)
figure.savefig(figures / "04_toy.png", dpi=150)

# %% [markdown]
# **What to see.** The last steps of training; one deterministic line for each best value, so there is no spread.
# Dotted: the threshold between the integers 1 and 2. With the straight-through estimator (*ste*) the weight crosses
# it again and again, more often the farther the best value is from the grid point. EWGS, which scales the gradient,
# does not stop that. Under *dampen* the weight settles below the threshold, under *freeze* it stops.
#
# ## A 3-bit network
#
# A small network of two convolutions on scikit-learn's digits: eight epochs at 32 bits, then LSQ quantizers (learned
# scales) at 3 bits. The second convolution has 3-bit weights; the first and the classifier have 8, as in the LSQ
# paper.

# %%
lq.tasks.prepare(data / "digits", "digits")
lq.tasks.lifelong(data / "digits", data / "notebooks/digits_1", num_tasks=1, diminish_rate=1)
model = lq.Part(f"{place / 'examples/small_cnn.py'}:small_cnn", {"width": 8})
recipe = lq.load_recipe("oscillations/mobilenet_v2_digits").replace(
    {"data.root": str(data / "digits"), "data.csv": str(data / "notebooks/digits_1"), "data.validation": 0.2}
    | {"stages.0.epochs": float_epochs, "stages.1.epochs": epochs, "stages.1.learning_rate": rate}
    | {"model": model, "stages.0.learning_rate": 0.1, "reestimation_batches": 20, "data.batch_size": 16}
)
swept = lq.sweep(recipe, {"oscillation": controls}, runs, seeds)
swept

# %% [markdown]
# Validation images; mean and sample standard deviation over the seeds. Now one weight, step by step: `lq.trace`
# trains the beginning of a stage again, exactly as the run did, and returns latent values and integers.

# %%
rows, count = swept.rows(), len(seeds)
folders = [[row["folder"] for row in rows[at * count :][:count]] for at in range(len(controls))]
kernel = "down/conv/kernel"
traces = [lq.trace(found[0], {kernel: range(500)}, steps)[kernel] for found in folders]
weight = int(np.argmax(np.count_nonzero(np.diff(traces[0].codes, axis=0), axis=0)))
figure, panels = plt.subplots(1, len(controls), figsize=(11, 3), sharey=True, layout="constrained")
for axes, trace, (name, _) in zip(panels, traces, controls, strict=True):
    axes.step(range(steps), trace.codes[:, weight], where="mid", ls="--", lw=1, color="#D55E00", label="integer")
    axes.plot(range(steps), trace.position[:, weight], color="#0072B2", label="latent weight")
    axes.set(title=name, xlabel="training step", ylabel="steps of the grid")
panels[-1].legend(frameon=False, fontsize=8)
figure.savefig(figures / "04_weight.png", dpi=150)

# %% [markdown]
# **What to see.** Of 500 weights of the 3-bit layer the one that jumps most often without control (*track*), in the run
# of the first seed, under each control. Blue: the latent weight on the quantizer's grid; orange: the integer it is
# rounded to. While the latent weight stays near 0.5 the integer jumps often. Freezing begins after a quarter of the
# task, at about step 140; this weight is put on its integer near step 200 and stays. Dampening grows from step 140 on,
# and has changed the way of this weight little by step 250.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for found, (name, _), color in zip(folders, controls, ("#0072B2", "#009E73", "#D55E00"), strict=False):
    histories = [run.history for run in lq.read(*found).finished]
    shares = 100 * np.array([one.oscillating[-epochs:] for one in histories])
    gain = [100 * (one.accuracy[-1, 0] - one.running_accuracy[-1, 0]) for one in histories]
    left.errorbar(range(epochs), shares.mean(0), shares.std(0, ddof=1), capsize=4, color=color, label=name)
    right.plot([name] * len(gain), gain, "o", ms=4, color=color)
    right.errorbar(name, np.mean(gain), np.std(gain, ddof=1), fmt="D", capsize=4, alpha=0.5, color=color)
left.set(xlabel="epoch at 3 bits, from 0", ylabel="oscillating weights, %")
left.legend(frameon=False, fontsize=8)
right.set(xlabel="control", ylabel="accuracy gained by re-estimation, points")
figure.savefig(figures / "04_network.png", dpi=150)

# %% [markdown]
# **What to see.** Left: share of weights of the 3-bit layer that oscillate ($f > 0.005$, not frozen); lines and bars
# are mean and sample standard deviation over the seeds. It grows while the learning rate is high and falls with it.
# Freezing brings it to about 1 %, against more than 10 % without control; dampening at its default strength makes
# nearly no difference here. Right: what re-estimating the statistics of batch norm gains at the end; dots are seeds,
# diamonds mean and sample standard deviation.
#
# **What it does not show.** The paper gains accuracy from both remedies and from re-estimation, on MobileNets with
# depthwise convolutions on ImageNet. In this small network neither changes accuracy by more than the spread of two
# seeds.

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
# # 1. Quickstart: a 4-bit network that learns three tasks
#
# LifeQuant trains a low-bit network on tasks that arrive one after the other. It does three things: it quantizes the
# weights by *ProxQ* (notebook 2), balances the loss by class sizes, *BaLL* (notebook 3), and adds a penalty $\sum_i
# F_i (w_{q,i} - w_{s,i})^2$ on the distance of the quantized weights $w_q$ from those that the last task ended with,
# $w_s$; $F_i$ is the Fisher information, the mean square of the loss's derivative by $w_{q,i}$
# (`help(lq.methods.lifequant)`).
#
# Here scikit-learn's digits are the data, and a network of two convolutions is trained at 32, 8 and 4 bits. It ends
# as a file of integers.

# %% tags=["parameters"]
from pathlib import Path

import lifeq_jax as lq

place = Path("..") if Path.cwd().name == "notebooks" else Path()  # of the repository
data, runs, figures = place / "data", place / "runs/notebook_01", place / "docs/figures"
model = lq.Part(f"{place / 'examples/small_cnn.py'}:small_cnn")  # or a name: lq.Part("resnet20")
epochs = (6, 3, 8)  # of each task at 32, 8 and 4 bits
seeds = (0, 1)

# %%
lq.fast_cpu()
figures.mkdir(parents=True, exist_ok=True)
root, csv = data / "digits", data / "notebooks/digits_025"
lq.tasks.prepare(root, "digits")
lq.tasks.lifelong(root, csv, num_tasks=3, diminish_rate=0.25)
lq.tasks.replay(csv, num_tasks=3, rate=0.2)
print(lq.tasks.inspect(csv))

# %% [markdown]
# Each task has six to eight of the ten classes; one class of the task before is gone, and others have come. A fifth of
# its training images is kept for replay: task 2 trains on its own images and on these.
#
# ## Training
#
# A recipe holds the whole experiment; `replace` changes single keys. The 32- and 8-bit stages learn the first task,
# the 4-bit stage all three. If the cell is stopped, it resumes when it is run again.

# %%
recipe = lq.load_recipe("lifequant/resnet20_digits").replace(
    {"data.root": str(root), "data.csv": str(csv), "model": model}
    | {f"stages.{number}.epochs": count for number, count in enumerate(epochs)}
)
found = lq.train(recipe, runs, seeds, log=lambda line: None)
found

# %% [markdown]
# Mean and sample standard deviation over the seeds, in per cent. *Learning accuracy* is that of each task just after
# it was trained; *forgetting* is what a task has lost since its best moment.

# %%
found.matrix()

# %% [markdown]
# Row: after which task. Column: on the test images of which task. In brackets: tasks that have not been trained yet;
# they share classes with those before.

# %%
curves = found.curves()
curves.save(figures / "01_curves.png")
curves

# %% [markdown]
# **What to see.** Accuracy on the test images of each task over the epochs of all stages, one line for each seed.
# Vertical lines: a new stage or task. At each change of bits accuracy falls a little and comes back. When a new task
# begins, the tasks before it keep their accuracy. The third task is learned to two thirds only. The penalty's
# `strength` sets the balance of the two; the recipe's was chosen for ResNet-20 and has not been tuned for this
# network.
#
# ## Report and exported network
#
# The report is a folder with Markdown, tables and plots. The export is a program of integers, from the pixels to the
# classifier: as packed codes, ONNX, and C. Every file is compared with the trained network.

# %%
found.report(runs / "report")
exported = lq.export(found.finished[0], formats=["packed", "c"])
sorted(path.name for path in exported.folder.iterdir()), exported.agreement

# %%
net = lq.trained(found.finished[0])
packed = sum(path.stat().st_size for path in exported.folder.glob("*.safetensors"))
print(f"{sum(codes.values.size for codes in net.codes.values())} weights as integers, {packed / 1000:.1f} kB on disk")

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
# # A 4-bit network that learns three tasks one after another
#
# The job of `make quickstart`, from Python: scikit-learn's digits become three lifelong tasks, ResNet-20 is trained
# at 32, 8 and 4 bits, and the report says what was learned and what was forgotten.

# %% tags=["parameters"]
import dataclasses
import os
from pathlib import Path

from IPython.display import Image, Markdown, display

from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.data.inspect import describe
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.data.prepare import prepare
from lifeq_jax.data.replay import make_replay
from lifeq_jax.report.groups import group_runs
from lifeq_jax.report.tables import formula_table, matrix_table, metrics_table
from lifeq_jax.report.write import write_report
from lifeq_jax.runs.read import read_run
from lifeq_jax.train.run import run_recipe

epochs = None  # of each task in each stage; None: what the recipe says

# %%
# Paths are relative to the repository, whether Jupyter was started there or in this folder.
if not Path("configs").is_dir():
    os.chdir("..")

# %% [markdown]
# ## Data
#
# Three tasks; each replaces a quarter of the classes of the one before. A fifth of each task's training rows is kept
# for replay: task 2 trains on its own rows and the replay rows of task 1, and so on.

# %%
recipe = load_recipe("configs/lifequant/resnet20_digits.py")
root, csv, num_tasks = Path(recipe.data.root), Path(recipe.data.csv), recipe.data.num_tasks

prepare(root, "digits", download=False, seed=0)
make_lifelong(root, csv, num_tasks=num_tasks, diminish_rate=0.25)
make_replay(csv, num_tasks=num_tasks, rate=0.2)
print(describe(csv, root))

# %% [markdown]
# ## Training
#
# The recipe holds the whole chain; every stage starts from the parameters of the one before. Run again, this cell
# resumes, or says that all is done.

# %%
run_folder = Path("runs/notebook_01")
if epochs is not None:
    stages = tuple(dataclasses.replace(stage, epochs=epochs) for stage in recipe.stages)
    recipe = dataclasses.replace(recipe, stages=stages)
    run_folder = run_folder.with_name(f"notebook_01_epochs{epochs}")
for stage in recipe.stages:
    bits = f"weights {stage.weight_bits} bits, activations {stage.act_bits} bits"
    print(f"{stage.name}: {bits}, {stage.epochs} epochs")

# %%
summary = run_recipe(recipe, run_folder)

# %% [markdown]
# ## What was learned, what was forgotten
#
# Row: after which task; column: on the test images of which task. In brackets: tasks not trained yet. In per cent.

# %%
run = read_run(run_folder)
(group,) = group_runs([run])
display(Markdown(matrix_table(group)))

# %%
display(Markdown(metrics_table(group)))
display(Markdown(formula_table()))

# %% [markdown]
# ## Plots
#
# The same files that `lifeq-jax report` writes.

# %%
report = write_report([run], run_folder / "report")
for name in ("matrix", "training", "forgetting"):
    display(Image(report.with_name(f"{name}.png")))

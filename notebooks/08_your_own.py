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
# # 8. Your own images, your own network, your own method
#
# From a folder of images to a file of integers. The network and the method are files of yours; the package is not
# changed. The method here is ER-ACE (Caccia et al., ICLR 2022): from the second task on, the loss of a new image is
# taken over the classes of the batch's new images alone, and that of a replayed image over all classes, so that new
# classes do not push the old ones away.

# %% tags=["parameters"]
from pathlib import Path

import lifeq_jax as lq

place = Path("..") if Path.cwd().name == "notebooks" else Path()  # of the repository
data, runs, figures = place / "data", place / "runs/notebook_08", place / "docs/figures"
images = data / "digits/train"  # <class>/<file>, of any size and format; put your folder here
own, csv = data / "notebooks/own", data / "notebooks/own_2"
side, batch_size = 8, 16  # pixels; images
network = f"{place / 'examples/small_cnn.py'}:small_cnn"
method = f"{place / 'examples/er_ace.py'}:er_ace"
shares = (0.0, 0.3)  # of the loss over all classes in that of a new image, of the package's ER-ACE
float_epochs, epochs = 5, 5
seeds = (0, 1)

# %%
lq.fast_cpu()
figures.mkdir(parents=True, exist_ok=True)
if images == data / "digits/train":
    lq.tasks.prepare(data / "digits", "digits")  # stands for your images
prepared = lq.tasks.prepare(own, "folder", source_folder=images, size=side, test_fraction=0.2)
tasks = lq.tasks.lifelong(own, csv, num_tasks=2, diminish_rate=1)
lq.tasks.replay(csv, num_tasks=2, rate=0.2)
mean, std = lq.tasks.moments(own / "train")
print(prepared)

# %% [markdown]
# `prepare` copies the images to one size and keeps a fifth of each class for testing; `lifelong` divides the classes
# among two tasks. `lifeq-jax start FOLDER` does the same in one command and writes a recipe.
#
# ## The network and the method

# %%
print(Path(network.split(":")[0]).read_text())

# %% [markdown]
# A network is made of units that know their role; the recipe's setup gives each role its bits. A method is a record
# of functions; this one has a loss of its own and counts the finished tasks.

# %%
print(Path(method.split(":")[0]).read_text())

# %%
recipe = lq.Recipe(
    name="own",
    data=lq.Data(
        root=str(own),
        csv=str(csv),
        num_tasks=2,
        num_classes=len(tasks.classes),
        image=(side, side, len(mean)),
        crop=(side, side),
        pad=1,
        flip=False,
        mean=mean,
        std=std,
        batch_size=batch_size,
        validation=0.2,
        classes=tasks.classes,
    ),
    model=lq.Part(network),
    stages=(
        lq.Stage("float", 32, 32, epochs=float_epochs, learning_rate=0.1, tasks=1),
        lq.Stage("w4a4", 4, 4, epochs=epochs, learning_rate=0.05),
    ),
    optimizer=lq.Optimizer(schedule="cosine"),
)
swept = lq.sweep(
    recipe, {"method": ["finetune", method, *(("er_ace", {"full": share}) for share in shares)]}, runs, seeds
)
picture = swept.plot("average_accuracy", by="method")
picture.save(figures / "08_accuracy.png")
picture

# %% [markdown]
# **What to see.** Average accuracy on both tasks at the end, validation images; small markers are seeds, large ones
# mean and sample standard deviation. The file and the package's `er_ace(full=0)` have the same loss and end alike. They
# forget little, but do not learn the second task, as *learning accuracy* in the table shows: replay holds images of old
# tasks alone, so that no image teaches the network a new class beside the old ones. If three tenths of a new image's
# loss are over all classes, `full=0.3`, both tasks are known. Fine-tuning, which is `full=1`, forgets the first.

# %%
swept

# %% [markdown]
# ## Integers
#
# The network of the last method and the first seed as packed codes and C. The program computes with integers from the
# pixels to the classifier, and is compared with the trained network on the test images.

# %%
exported = lq.export(swept.rows()[-len(seeds)]["folder"], formats=["packed", "c"])
print({path.name: path.stat().st_size for path in sorted(exported.folder.iterdir())}, exported.agreement)

"""The text of the recipe file that `lifeq-jax start` writes."""

import json
from pathlib import Path

import numpy as np

from lifeq_jax.data.start import Started

STEPS = (450, 220, 650)  # of the first task in each stage, as in the recipe lifequant/resnet20_digits
MOST_EPOCHS = 60


def recipe_text(name: str, started: Started, commands: str) -> str:
    """A recipe file with a comment on every choice that depends on the images.

    name: of the recipe, and so of its run folder; commands: what its head shows."""
    first, several = started.train_images[0], len(started.train_images) > 1
    batch = next(size for size in (64, 32, 16, 8, 4, 2, 1) if size <= max(1, min(started.train_images) // 20))
    epochs = [int(np.clip(round(steps * batch / first), 2, MOST_EPOCHS)) for steps in STEPS]
    side, channels = started.side, len(started.mean)
    return TEXT.format(
        name=json.dumps(name),
        head=f"{name}: {len(started.classes)} classes, {sum(started.train_images)} training images in "
        f"{len(started.train_images)} task(s). Written by `lifeq-jax start`; change what you like.",
        commands=commands,
        root=json.dumps(str(started.prepared.root)),
        csv=json.dumps(str(started.csv)),
        tasks=len(started.train_images),
        outputs=len(started.classes),
        classes=_named(started.classes),
        image=(side, side, channels),
        crop=(side, side),
        pad=max(1, side // 8),
        mean=started.mean,
        std=started.std,
        replay=several,
        batch=batch,
        float_epochs=epochs[0],
        middle_epochs=epochs[1],
        last_epochs=epochs[2],
        method=METHOD if several else "",
    )


def _named(classes: tuple[str, ...]) -> str:
    lines = "".join(f"\n            {json.dumps(name, ensure_ascii=False)}," for name in classes)
    return f"({lines}\n        )"


def recipe_name(folder: Path) -> str:
    """The folder's name, in letters that names of recipes may have."""
    kept = "".join(letter if letter.isalnum() else "_" for letter in folder.resolve().name).strip("_").lower()
    return kept or "images"


METHOD = """    # against forgetting: LifeQuant keeps to the quantized weights of the tasks before
    loss=Part("ball_log_prior"),
    method=Part("lifequant", {"strength": 100.0, "loss": "ball_scale"}),
"""

TEXT = '''"""{head}

{commands}"""

from lifeq_jax import Data, Optimizer, Part, Recipe, Stage

recipe = Recipe(
    name={name},
    data=Data(
        root={root},
        csv={csv},
        num_tasks={tasks},
        num_classes={outputs},
        classes={classes},
        image={image},
        crop={crop},
        pad={pad},  # in training an image is moved by up to so many pixels
        flip=False,  # True where a mirrored image is of the same class: photographs, not letters
        mean={mean},  # of the training images, per channel
        std={std},
        batch_size={batch},
        replay={replay},  # whether a task sees a fifth of the tasks before it again
    ),
    model=Part("resnet20"),  # or resnet8, mobilenet_v2, ...: docs/architecture.md
    # a chain: floats, then 8 bits, then 4, each from the one before; the first two on the first task alone
    stages=(
        Stage("float", weight_bits=32, act_bits=32, epochs={float_epochs}, learning_rate=0.1, tasks=1),
        Stage("w8a8", weight_bits=8, act_bits=8, epochs={middle_epochs}, learning_rate=0.05, tasks=1),
        Stage("w4a4", weight_bits=4, act_bits=4, epochs={last_epochs}, learning_rate=0.05),
    ),
{method}    optimizer=Optimizer(schedule="cosine"),
    evaluate_every=0,  # 1: after every epoch
)
'''

"""The command `lifeq-jax start`: from a folder of images to a recipe."""

import argparse
from pathlib import Path

from lifeq_jax.cli_parser import add_command
from lifeq_jax.core.files import write_whole
from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.core.refusal import Refusal

RECIPE = "recipe.py"


def add_start(commands) -> None:
    """Adds `start`."""
    text = "look at a folder of images, prepare it, and write a recipe that trains, exports and predicts"
    start = add_command(commands, "start", _start, text)
    start.add_argument("folder", type=Path, help="images in <class>/, <split>/<class>/ or <task>/<class>/, of any size")
    start.add_argument("--tasks", type=int, help="divide the classes among so many tasks (default: one task)")
    start.add_argument("--size", type=int, help="side of the square images (default: by those that are there)")
    start.add_argument("--out", type=Path, help="folder to write (default: data/<name of FOLDER>_started)")


def _start(options: argparse.Namespace) -> None:
    from lifeq_jax.data.recipe_text import recipe_name, recipe_text
    from lifeq_jax.data.start import Look, look, start

    found: Look = look(options.folder)
    sides = [f"{height}x{width}" for height, width in (found.sides.min(axis=0), found.sides.max(axis=0))]
    print(f"{options.folder}: {len(found.sides)} images in {found.layout}, {' to '.join(dict.fromkeys(sides))} pixels")
    print("classes: " + ", ".join(f"{name} {count}" for name, count in sorted(found.images.items())))
    name = recipe_name(options.folder)
    out = options.out or Path("data") / f"{name}_started"
    if out.resolve().is_relative_to(options.folder.resolve()):
        raise Refusal(f"--out {out} lies in {options.folder}; choose another --out")
    started = start(found, out, tasks=options.tasks, size=options.size)
    print(started.prepared)
    for number, counts in enumerate(zip(started.train_images, started.test_images, strict=True)):
        print(f"task {number}: {counts[0]} training and {counts[1]} test images")
    for note in started.notes:
        print(note)
    print(f"mean {started.mean}, standard deviation {started.std} of the training images")
    path, run = out / RECIPE, Path("runs") / name / "seed0"
    next_ = (f"train {path}", f"export {run}", f"predict {run}/export/w4a4 IMAGE...")
    text = recipe_text(name, started, "\n".join(f"    lifeq-jax {words}" for words in next_))
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise Refusal(f"{path} is there and is another; remove it, or choose another --out")
    write_whole(path, text)
    load_recipe(path)
    print(f"\nrecipe: {path}; now")
    for words in next_:
        print(f"  lifeq-jax {words}")

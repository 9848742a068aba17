"""Runs that die in the middle, and what a run folder holds."""

import csv
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from lifeq_jax.core.config import Recipe, to_json
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.train.checkpoint import Checkpoints, Progress
from lifeq_jax.train.reached import reached

TIMES = {"images_per_second", "steps_per_second", "acting_seconds", "waiting_seconds", "learning_seconds"}


def train_killed(recipe: Recipe | GameRecipe, folder: Path, *moment: str) -> int:
    """Trains in a process of its own that kills itself at `moment` (killed.py); returns its exit code."""
    config = folder.with_suffix(".json")
    config.write_text(to_json(recipe))
    command = [sys.executable, "-m", "tests.train.killed", str(config), str(folder), *moment]
    root = Path(__file__).parent.parent.parent
    return subprocess.run(command, cwd=root, env=os.environ, capture_output=True, timeout=600).returncode


def metrics(folder: Path) -> list[dict]:
    """The rows of metrics.csv without times."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def checkpointed(folder: Path, stage: str, record=Progress) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint of a stage, by name: the whole train state; `record` as in Checkpoints."""
    with closing(Checkpoints(folder / "checkpoints" / stage, record)) as checkpoints:
        items = checkpoints.items()
    return {name: np.asarray(leaf) for name, leaf in named_leaves(items._asdict() | {"progress": ()}).items()}


def latest_weights(folder: Path, stage: str | None = None) -> tuple:
    """(params, batch_stats) that a run folder's stage (by default its last) has reached."""
    with reached(folder, stage) as checkpoints:
        return checkpoints.weights()

"""Selection of the epoch that gives a task's parameters; patience, which lowers the rate on a plateau of the loss."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.config import Optimizer
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.tables import concat_rows
from lifeq_jax.train.checkpoint import Progress
from lifeq_jax.train.loop import evaluate_rows
from lifeq_jax.train.stage import Best, Compiled, Saved, Seed
from lifeq_jax.train.step import TrainState


class Patience(NamedTuple):
    """The state of patience; plain numbers, for a checkpoint's JSON."""

    left: int  # epochs without improvement until the rate falls
    rate_factor: float  # factor of the learning rate, 0..1


def fresh_patience(optimizer: Optimizer) -> Patience:
    """At the start of a task."""
    return Patience(optimizer.patience, 1.0)


def after_epoch(patience: Patience, improved: bool, optimizer: Optimizer) -> Patience:
    """The patience after one more epoch; `improved`: its validation loss is the lowest of the task so far.

    Source: BLIP ImageClassification/src/approaches/blip.py (`Appr.train`)."""
    if improved or not optimizer.patience:
        return Patience(optimizer.patience, patience.rate_factor)
    if patience.left > 1:
        return patience._replace(left=patience.left - 1)
    return Patience(optimizer.patience, patience.rate_factor / optimizer.patience_factor)


def is_spent(progress: Progress, rate: float, optimizer: Optimizer) -> bool:
    """Whether a task that began with learning rate `rate` ends here."""
    return optimizer.patience > 0 and rate * progress.rate_factor < optimizer.smallest_rate


def select(stage: Compiled, seed: Seed, saved: Saved, progress: Progress) -> tuple[Saved, Progress]:
    """Keeps the parameters if they are the best of this task so far; lowers the rate when patience ends.

    Raises:
        Diverged: the validation loss is not finite."""
    recipe, state = seed.recipe, saved.state
    if recipe.selection == "last":
        return saved, progress
    score = _validation_score(stage, seed, state, progress.task)
    if math.isnan(score):
        raise Diverged(f"the validation loss of task {progress.task + 1} is not finite")
    improved = score > progress.best
    patience = after_epoch(Patience(progress.patience_left, progress.rate_factor), improved, recipe.optimizer)
    if improved:
        saved = saved._replace(best=Best(*copied((state.params, state.batch_stats))))
        progress = progress._replace(best=score)
    if patience.rate_factor != progress.rate_factor:
        begun_anew = stage.built.optimizer.init(state.params)
        state = state._replace(opt_state=begun_anew, rate_factor=jnp.float32(patience.rate_factor))
        saved = saved._replace(state=state)
    return saved, progress._replace(patience_left=patience.left, rate_factor=patience.rate_factor)


def _validation_score(stage: Compiled, seed: Seed, state: TrainState, task: int) -> float:
    """The accuracy on the validation images of all tasks so far, or minus the mean loss on those of the newest."""
    by_loss = seed.recipe.selection == "lowest_loss"
    held_out = [rows.validation for rows in seed.world.tasks[task if by_loss else 0 : task + 1]]
    score = evaluate_rows(stage.score, seed.world, concat_rows(held_out), state.params, state.batch_stats)
    return -float(score.loss / score.confusion.sum()) if by_loss else score.accuracy


def copied(tree: PyTree) -> PyTree:
    """A copy in new buffers: a step donates its state, so arrays that outlive the step need a copy."""
    return jax.tree.map(jnp.copy, tree)

"""Chosen weights step by step: how latent values move and integers jump, oscillations for the eye."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lifeq_jax.api.runs import folder_of
from lifeq_jax.api.shown import Pictures
from lifeq_jax.core.config import Recipe, read_recipe
from lifeq_jax.core.lookup import check_choice
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.data.inputs import Feed
from lifeq_jax.data.order import train_plan
from lifeq_jax.data.tables import naming_rows
from lifeq_jax.quant.codes import kernel_codes, relax
from lifeq_jax.report.oscillation_plots import draw_trace
from lifeq_jax.runs.folder import CONFIG
from lifeq_jax.runs.read import Run
from lifeq_jax.train.identity import with_own_code
from lifeq_jax.train.loop import Place
from lifeq_jax.train.reached import reached
from lifeq_jax.train.run import csvs, start_weights
from lifeq_jax.train.stage import Compiled, compile_stage
from lifeq_jax.train.step import TrainState, zero_totals
from lifeq_jax.train.tasks import Weights, calibrated, carried, first_state, last_float_network
from lifeq_jax.train.world import World, make_world, read_source

Chosen = Mapping[str, Sequence[int]]  # kernel -> places in it, as of a flat array


class Trace(NamedTuple):
    """N weights of a kernel, as they are after each of S steps."""

    places: np.ndarray  # (N,) int32, flat indices of the weights in the kernel
    latent: np.ndarray  # (S, N) float32, latent weights
    position: np.ndarray  # (S, N) float32, latent weights in steps of the quantizer's grid, limited to its range
    codes: np.ndarray  # (S, N) int32, `position` rounded

    def plot(self) -> Pictures:
        """Position and integer of each weight over the steps.

        Example:
            >>> traces = lq.trace(folder, {"stem/dense/kernel": [0, 9]}, steps=3, stage="w4a4")
            >>> traces["stem/dense/kernel"].plot().save(folder / "trace.png").name
            'trace.png'
        """
        return Pictures({"latent weights and their integers": draw_trace(self.places, self.position, self.codes)})


def trace(run: Run | str | Path, weights: Chosen, steps: int, stage: str | None = None) -> dict[str, Trace]:
    """Trains the first task of a stage again, exactly as the run did, and records some weights after every step.

    Nothing is written. The recipe's data and the last checkpoint of the previous stage must still be there.

    Args:
        run: a run folder, or one of `Runs.finished`.
        weights: name of a quantized kernel (a key of `trained(run).codes`) -> flat indices of weights in it.
        steps: the number of steps, from the first.
        stage: name of the stage; None: the last.

    Returns:
        The trace of every kernel.

    Raises:
        Refusal: a kernel is not quantized in this stage or has no such index, the task has fewer steps, or the recipe
            uses patience, which a trace does not support.

    Example:
        >>> found = lq.trace(folder, {"stem/dense/kernel": [0, 9, 17]}, steps=4, stage="w4a4")["stem/dense/kernel"]
        >>> found.latent.shape, bool((abs(found.position - found.codes) <= 0.5).all())
        ((4, 3), True)
    """
    folder = folder_of(run)
    recipe = with_own_code(read_recipe(folder / CONFIG), folder)
    names = [item.name for item in recipe.stages]
    if recipe.optimizer.patience:
        raise Refusal(f"optimizer.patience={recipe.optimizer.patience}: such a run cannot be traced")
    check_choice(names, stage or names[-1], "stage")
    number = names.index(stage or names[-1])
    with naming_rows(csvs(recipe)):
        world = make_world(recipe, read_source(recipe))
        compiled = compile_stage(recipe, number, world)
        _check(compiled, world, weights, steps)
        fresh = compiled.built.network.init(recipe.seed)
        given = start_weights(recipe, fresh, lambda line: None)
        start = calibrated(compiled, recipe, world, _start(recipe, folder, number, given, fresh))
        state = first_state(compiled, world, start, last_float_network(recipe, folder, world, number, given))
        look = jax.jit(lambda params: _look(compiled, weights, params))
        each = [jax.device_get(look(state.params)) for state in _states(compiled, recipe, world, state, steps)]
    stacked = {name: map(np.stack, zip(*(one[name] for one in each), strict=True)) for name in weights}
    return {name: Trace(np.array(weights[name], np.int32), *fields) for name, fields in stacked.items()}


def _start(recipe: Recipe, folder: Path, number: int, given: Weights, fresh: Weights) -> Weights:
    if number == 0:
        return given
    with reached(folder, recipe.stages[number - 1].name) as checkpoints:
        return carried(checkpoints.weights(), fresh)


def _states(compiled: Compiled, recipe: Recipe, world: World, state: TrainState, steps: int) -> Iterator[TrainState]:
    """The state after each step, valid until the next is asked for."""
    totals = zero_totals(compiled.objective)
    advance, where = compiled.advances[0], np.array((recipe.seed, compiled.number, 0), np.int32)
    for feed in tqdm(islice(_feeds(compiled, recipe, world), steps), "trace", steps, leave=False, disable=None):
        state, totals = advance(state, totals, world.constants, feed, np.int32(1), where)
        yield state


def _feeds(compiled: Compiled, recipe: Recipe, world: World) -> Iterator[Feed]:
    """The feeds of the first task, epoch after epoch, one for each step."""
    rows = world.tasks[0].train
    for epoch in range(compiled.stage.epochs):
        place = Place(recipe.seed, compiled.number, 0, epoch)
        plan = train_plan(len(rows.index), world.batch_size, world.spec, **place._asdict())
        for feed in world.input.feeds(rows, plan, 0):
            yield jax.tree.map(lambda part: part[None], feed)


def _look(compiled: Compiled, weights: Chosen, params: PyTree) -> dict[str, tuple[jax.Array, ...]]:
    """latent, position and codes of a Trace at one step, by kernel."""
    table, leaves = {name: compiled.built.network.table[name] for name in weights}, named_leaves(params)
    found, relaxed = kernel_codes(table, params), relax(table, params)

    def at(name: str, values: jax.Array) -> jax.Array:
        return jnp.broadcast_to(values, leaves[name].shape).ravel()[np.array(weights[name], np.int32)]

    return {
        name: (at(name, leaves[name]), at(name, relaxed[name] / own.scale + own.zero), at(name, own.values))
        for name, own in found.items()
    }


def _check(compiled: Compiled, world: World, weights: Chosen, steps: int) -> None:
    params, _ = compiled.built.network.init(0)
    leaves = named_leaves(params)
    for name, places in weights.items():
        check_choice(compiled.built.network.table, name, "weights")
        if wrong := [place for place in places if place not in range(leaves[name].size)]:
            raise Refusal(f"weights[{name!r}]: {wrong[0]} is no place in it; choose from 0 to {leaves[name].size - 1}")
    if not 0 < steps <= (most := world.steps(0) * compiled.stage.epochs):
        raise Refusal(f"steps={steps} is out of range; task 0 of stage {compiled.stage.name} has {most}")

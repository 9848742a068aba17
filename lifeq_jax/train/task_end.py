"""The work between two tasks: the method's, and the re-estimation of batch-norm statistics."""

from collections.abc import Callable, Iterable
from functools import partial

import jax
from jax.tree_util import Partial

from lifeq_jax.core.keys import Stream, generator_for, key_for
from lifeq_jax.core.types import Batch
from lifeq_jax.data.tables import Rows
from lifeq_jax.methods.base import Method, TaskEnd
from lifeq_jax.train.loop import Place, augmented_images, batches
from lifeq_jax.train.network import Network
from lifeq_jax.train.selection import copied
from lifeq_jax.train.stage import Compiled, Saved, Seed
from lifeq_jax.train.step import TrainState


def conclude(stage: Compiled, seed: Seed, saved: Saved, place: Place, is_final: bool) -> TrainState:
    """The state at the end of a task: the parameters that selection has kept, after the method's work between tasks."""
    state, method = saved.state, stage.built.method
    if seed.recipe.selection != "last":
        state = state._replace(**copied(saved.best)._asdict())
    if is_final and not method.concludes:
        return state

    def loader(finished: int) -> Iterable[Batch]:
        return batches(stage.assemble, seed.world, _memory(seed, stage.number, finished))

    key = key_for(seed.recipe.seed, stage.number, place.task, stream=Stream.METHOD)
    state = look_back(stage.built.network, method, state, place.task, loader, key)
    return with_new_statistics(stage, seed, state, place)


def look_back(
    network: Network,
    method: Method,
    state: TrainState,
    task: int,
    loader: Callable[[int], Iterable[Batch]],
    key: jax.Array,
) -> TrainState:
    """The state after the method's `end_task` and `settle`; `loader`: task -> its training data, for every task up to
    the finished one."""
    stats = state.batch_stats
    method_state = method.end_task(
        state.method_state,
        TaskEnd(
            task=task,
            params=state.params,
            weights=jax.jit(network.quantize)(state.params),
            apply=Partial(network.evaluate, batch_stats=stats),
            apply_weights=Partial(network.evaluate_weights, batch_stats=stats),
            head=network.head,
            loaders=tuple(partial(loader, finished) for finished in range(task + 1)),
            counts=state.counts,
            key=key,
            squares=Partial(network.squares, batch_stats=stats),
            squares_weights=Partial(network.squares_weights, batch_stats=stats),
        ),
    )
    params = jax.jit(method.settle)(method_state, state.params)
    # a copy: the method state may hold the same arrays, and both are donated
    return state._replace(method_state=method_state, params=copied(params))


def _memory(seed: Seed, stage: int, task: int) -> Rows:
    """The rows that a method sees of a finished task; a part of them is drawn at random, since files go class by
    class."""
    rows, count = seed.world.tasks[task].memory, seed.recipe.importance_batches * seed.world.batch_size
    if not 0 < count < len(rows.index):
        return rows
    drawn = generator_for(seed.recipe.seed, stage, task).permutation(len(rows.index))[:count]
    return Rows(*(column[drawn] for column in rows))


def with_new_statistics(stage: Compiled, seed: Seed, state: TrainState, place: Place) -> TrainState:
    """The state with re-estimated batch-norm statistics, if the recipe asks for them."""
    count = seed.recipe.reestimation_batches
    if count == 0:
        return state
    images = augmented_images(stage.assemble, seed.world, place, count)
    return state._replace(batch_stats=stage.reestimate(state.params, images))

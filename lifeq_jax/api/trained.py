"""The trained network of a stage of a run: weights, integers, bits, outputs, activations."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import linen as nn

from lifeq_jax.api.runs import folder_of
from lifeq_jax.core.config import Recipe, Stage, read_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.data.tables import naming_rows
from lifeq_jax.layers.quant import LayerBits, QuantAct
from lifeq_jax.methods.base import Outputs
from lifeq_jax.quant import codes
from lifeq_jax.quant.base import Codes
from lifeq_jax.runs.folder import CONFIG
from lifeq_jax.runs.read import Run
from lifeq_jax.train.build import build_network, layer_bits
from lifeq_jax.train.identity import with_own_code
from lifeq_jax.train.loop import batches
from lifeq_jax.train.network import Network
from lifeq_jax.train.reached import reached, stage_of
from lifeq_jax.train.run import csvs
from lifeq_jax.train.world import World, make_world, read_source


class Trained:
    """A network with its trained parameters. Immutable."""

    def __init__(self, recipe: Recipe, stage: Stage, params: PyTree, batch_stats: PyTree):
        self.recipe, self.stage, self.params, self.batch_stats = recipe, stage, params, batch_stats
        self.network: Network = build_network(recipe, stage)

    @cached_property
    def weights(self) -> PyTree:
        """`params` with every kernel replaced by its quantized value."""
        return jax.jit(self.network.quantize)(self.params)

    @cached_property
    def codes(self) -> dict[str, Codes]:
        """The integers of every quantized kernel by name, with scale and zero: weight = (values - zero) * scale."""
        return codes.kernel_codes(self.network.table, self.params)

    @cached_property
    def bits(self) -> dict[str, LayerBits]:
        """Bits of the weights or activations of every layer that may quantize, by its path; 32: not quantized."""
        return layer_bits(self.recipe, self.stage)

    def outputs(self, image: jax.Array) -> Outputs:
        """Logits (B, K) and features (B, F) of normalized images (B, H, W, C), in evaluation mode.

        Example:
            >>> net = lq.trained(folder)
            >>> net.outputs(next(net.batches()).image).logits.shape
            (64, 10)
        """
        return self._evaluate(self.params, image, self.batch_stats)

    @cached_property
    def _evaluate(self) -> Any:
        return jax.jit(self.network.evaluate)

    def activations(self, image: jax.Array) -> dict[str, jax.Array]:
        """The output of every activation quantizer for normalized images (B, H, W, C), by its path. If one is called
        several times, that of the first call.

        Example:
            >>> net = lq.trained(folder)
            >>> {name: values.shape for name, values in net.activations(next(net.batches()).image).items()}
            {'stem/act': (64, 8)}
        """
        return self._activations(self.params, image, self.batch_stats)

    @cached_property
    def _activations(self) -> Any:
        def found(params: PyTree, image: jax.Array, batch_stats: PyTree) -> dict[str, jax.Array]:
            values: dict[str, jax.Array] = {}

            def record(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
                result = call(*args, **kwargs)
                if isinstance(context.module, QuantAct) and context.method_name == "__call__":
                    values.setdefault("/".join(context.module.path), result)
                return result

            with nn.intercept_methods(record):
                self.network.evaluate(params, image, batch_stats)
            return values

        return jax.jit(found)

    def batches(self, task: int = 0, of: Literal["scored", "train"] = "scored") -> Iterator[Batch]:
        """The images of a task in order, without augmentation, normalized; the last batch is padded (weight 0).

        Args:
            task: from 0, as in the names of CSV files.
            of: "scored", the images that accuracies are measured on, or "train".

        Raises:
            Refusal: there is no such task, or the recipe's data is missing.

        Example:
            >>> sum(int(batch.weight.sum()) for batch in lq.trained(folder).batches(task=1, of="scored")) > 0
            True
        """
        if task not in range(self.recipe.data.num_tasks):
            raise Refusal(f"task={task} is not a task of the run; choose from 0 to {self.recipe.data.num_tasks - 1}")
        with naming_rows(csvs(self.recipe)):
            world = self._world
            rows = world.tasks[task].train if of == "train" else world.tasks[task].score
            yield from batches(jax.jit(world.input.assemble), world, rows)

    def outputs_of(self, task: int = 0, of: Literal["scored", "train"] = "scored") -> tuple[Outputs, np.ndarray]:
        """Outputs and labels (N,) of the N images of a task, as NumPy arrays; arguments and errors of `batches`.

        Example:
            >>> outputs, label = lq.trained(folder).outputs_of(task=1)
            >>> outputs.logits.shape == (len(label), 10), outputs.feature.shape == (len(label), 8)
            (True, True)
        """
        found = []
        for batch in self.batches(task, of):
            real = np.asarray(batch.weight) > 0
            both = jax.device_get((self.outputs(batch.image), batch.label))
            found.append(jax.tree.map(lambda part, real=real: part[real], both))
        outputs, label = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
        return outputs, label

    @cached_property
    def _world(self) -> World:
        return make_world(self.recipe, read_source(self.recipe))


def trained(run: Run | str | Path, stage: str | None = None, after_task: int | None = None) -> Trained:
    """The network of a stage of a run, from its newest checkpoint.

    Args:
        run: a run folder, or one of `Runs.finished`.
        stage: name of the stage; None: the last.
        after_task: the network of the end of this task, from 0, where the recipe keeps these (`keep="task"`); None: of
            the end of the stage.

    Raises:
        Refusal: there is no such run, stage or network, or the stage has not begun.

    Example:
        >>> net = lq.trained(folder, "w4a4")
        >>> {name: (found.values.shape, found.values.dtype) for name, found in net.codes.items()}
        {'stem/dense/kernel': ((64, 8), dtype('int32'))}
        >>> net.bits["stem/dense"].weight, net.weights["stem"]["dense"]["kernel"].shape
        (4, (64, 8))
        >>> lq.trained(folder, "float").codes
        {}
    """
    folder = folder_of(run)
    recipe = with_own_code(read_recipe(folder / CONFIG), folder)
    with reached(folder, stage, after_task) as checkpoints:
        params, batch_stats = checkpoints.weights()
    chosen = stage_of(recipe, folder, stage)
    return Trained(recipe, chosen, params, batch_stats)

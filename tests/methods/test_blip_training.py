"""Whole trainings of BLIP's baselines: three tasks, a head each, the recorded order of batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import Method
from lifeq_jax.optim.chain import chain, sgd
from lifeq_jax.optim.schedules import constant
from tests.methods import recorded, tiny, trainer

SIZE, RATE = 5, 0.05  # examples in a batch, learning rate
KEPT = {("ewc", 1): 1, ("ewc", 2): 1}  # epoch of lowest loss, which the original goes back to; elsewhere the last, 3


def unmerged():
    """IMM as the original runs it: merged parameters are never used."""
    method = METHODS["imm"](strength=0.01)

    def end_task(state, task):
        new = method.end_task(state, task)
        return new._replace(merged=new.merged._replace(params=task.params))

    return method._replace(end_task=end_task, settle=Method().settle)


def original_ewc(lamb):
    return METHODS["ewc"](strength=lamb * 20 / 2, fisher="batch", history="averaged")


BASELINES = {  # ours, momentum, largest norm of the gradient
    "sgd": (METHODS["finetune"](), 0.9, 0.0),
    "sgd_frozen": (METHODS["frozen"](), 0.0, 0.0),
    "lwf": (METHODS["lwf"](strength=2.0, temperature=1.0), 0.0, 100.0),
    "ewc": (original_ewc(50.0), 0.0, 100.0),
    "imm_mode": (unmerged(), 0.0, 1000.0),
}


@pytest.mark.parametrize("name", BASELINES)
def test_golden(golden, name):
    arrays, (method, momentum, max_norm) = golden("blip_baselines_train"), BASELINES[name]
    epochs = [KEPT.get((name, task), 3) for task in range(3)]
    for task, (params, _) in enumerate(ends(arrays, method, momentum, max_norm, epochs)):
        recorded.close(params, tiny.tree(arrays, f"{name}_t{task}"), rtol=1e-4)


def ends(arrays, method, momentum, max_norm, epochs):
    """(params, method state) after each task, of so many epochs of the recorded batches."""
    base = sgd(constant(RATE), momentum)
    optimizer = chain(method.gradients, base, base, method.constraint, max_norm)
    tasks = [tiny.batches(arrays, f"t{task}", task, SIZE) * number for task, number in enumerate(epochs)]
    net = trainer.network(tiny.apply, quantized=jax.tree.map(lambda _: False, tiny.tree(arrays, "init")))

    def task_end(task, params):
        return tiny.task_end(arrays, SIZE, task, params)

    return trainer.train(net, method, optimizer, tiny.tree(arrays, "init"), tasks, jnp.ones(sum(tiny.HEADS)), task_end)


def test_clipping_is_of_the_whole_gradient_and_carries_the_originals_default_strength(golden):
    arrays, method, limit = golden("blip_baselines_train"), original_ewc(5000.0), 100.0
    (params, state), (found, _) = ends(arrays, method, 0.0, limit, [3, 1])
    norms = []
    for batch in tiny.batches(arrays, "t1", 1, SIZE):  # the original's loop, with torch's clip_grad_norm_
        gradient = jax.grad(tiny.criterion(method, state, batch))(params)
        norms.append(float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))))
        factor = RATE * min(1.0, limit / (norms[-1] + 1e-6))
        params = jax.tree.map(lambda p, g, factor=factor: p - factor * g, params, gradient)
    assert norms[0] < limit < max(norms)
    recorded.close(found, params, rtol=1e-4)
    free = [end for end, _ in ends(arrays, method, 0.0, 0.0, [3, 1])][1]
    assert not np.allclose(free["features"]["kernel"], params["features"]["kernel"], rtol=0.1)

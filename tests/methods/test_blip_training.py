"""Whole trainings of BLIP's baselines: three tasks, a head each, the recorded order of batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import Method
from lifeq_jax.optim.chain import method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import constant
from tests import vectors
from tests.methods import recorded, tiny, trainer

FACTS, STAGES = vectors.scalars("blip_baselines_train"), vectors.cases("blip_baselines_train")
SIZE, RATE = (FACTS.get(key, 1) for key in ("loader_batch", "lr"))


def unmerged():
    """IMM as the original runs it: merged parameters are never used."""
    method = METHODS["imm"](strength=FACTS["imm_lamb"])

    def end_task(state, task):
        new = method.end_task(state, task)
        return new._replace(merged=new.merged._replace(params=task.params))

    return method._replace(end_task=end_task, settle=Method().settle)


def original_ewc(lamb):
    return METHODS["ewc"](strength=lamb * 20 / 2, fisher="batch", history="averaged")


BASELINES = {
    "sgd": METHODS["finetune"],
    "sgd_frozen": METHODS["frozen"],
    "lwf": lambda: METHODS["lwf"](strength=float(FACTS["lwf"]["lamb"]), temperature=float(FACTS["lwf"]["T"])),
    "ewc": lambda: original_ewc(FACTS["ewc_lamb"]),
    "imm_mode": unmerged,
}


@pytest.mark.parametrize("name", sorted({stage.rpartition("_t")[0] for stage in STAGES}))
def test_golden(name):
    arrays, limit = vectors.arrays("blip_baselines_train"), FACTS["clipgrad"][name]
    # Only this one honours its momentum. All go back to the epoch of lowest loss.
    momentum, max_norm = FACTS["momentum"] if name == "sgd" else 0.0, 0.0 if limit == "unused" else float(limit)
    epochs = [STAGES[f"{name}_t{task}"]["starred_epochs"] for task in range(len(FACTS["heads"]))]
    for task, (params, _) in enumerate(ends(arrays, BASELINES[name](), momentum, max_norm, epochs)):
        recorded.close(params, tiny.tree(arrays, f"{name}_t{task}"), rtol=1e-4)


def ends(arrays, method, momentum, max_norm, epochs):
    """(params, method state) after each task, of so many epochs of the recorded batches."""
    base = sgd_by_progress(constant(RATE), momentum)
    optimizer = method_chain(method.gradients, base, base, method.constraint, max_norm)
    tasks = [tiny.batches(arrays, f"t{task}", task, SIZE) * number for task, number in enumerate(epochs)]
    net = trainer.network(tiny.apply, quantized=jax.tree.map(lambda _: False, tiny.tree(arrays, "init")))

    def task_end(task, params):
        return tiny.task_end(arrays, SIZE, task, params)

    return trainer.train(
        net, method, optimizer, tiny.tree(arrays, "init"), tasks, jnp.ones(sum(FACTS["heads"])), task_end
    )


def test_clipping_is_of_the_whole_gradient_and_carries_the_originals_default_strength():
    arrays, method, limit = vectors.arrays("blip_baselines_train"), original_ewc(5000.0), 100.0
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

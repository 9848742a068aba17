"""Whole trainings of BLIP's baselines: three tasks, a head each, the recorded order of batches."""

import jax
import jax.numpy as jnp
import pytest

from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import Method
from lifeq_jax.optim.chain import chain, sgd
from lifeq_jax.optim.schedules import constant
from tests.methods import recorded, tiny, trainer

SIZE = 5  # of a batch
KEPT = {("ewc", 1): 1, ("ewc", 2): 1}  # epoch of lowest loss, which the original goes back to; elsewhere the last, 3


def unmerged():
    """IMM as the original runs it: merged parameters are never used."""
    method = METHODS["imm"](strength=0.01)

    def end_task(state, task):
        new = method.end_task(state, task)
        return new._replace(merged=new.merged._replace(params=task.params))

    return method._replace(end_task=end_task, settle=Method().settle)


BASELINES = {  # ours, momentum
    "sgd": (METHODS["finetune"](), 0.9),
    "sgd_frozen": (METHODS["frozen"](), 0.0),
    "lwf": (METHODS["lwf"](strength=2.0, temperature=1.0), 0.0),
    "ewc": (METHODS["ewc"](strength=50.0 * 20 / 2, fisher="batch", history="averaged"), 0.0),
    "imm_mode": (unmerged(), 0.0),
}


@pytest.mark.parametrize("name", BASELINES)
def test_golden(golden, name):
    arrays, (method, momentum) = golden("blip_baselines_train"), BASELINES[name]
    rate = constant(0.05)
    optimizer = chain(method.gradients, sgd(rate, momentum), sgd(rate, momentum), method.constraint)
    tasks = [tiny.batches(arrays, f"t{task}", task, SIZE) * KEPT.get((name, task), 3) for task in range(3)]
    net = trainer.network(tiny.apply, quantized=jax.tree.map(lambda _: False, tiny.tree(arrays, "init")))

    def task_end(task, params):
        return tiny.task_end(arrays, SIZE, task, params)

    ends = trainer.train(net, method, optimizer, tiny.tree(arrays, "init"), tasks, jnp.ones(sum(tiny.HEADS)), task_end)
    for task, (params, _) in enumerate(ends):
        recorded.close(params, tiny.tree(arrays, f"{name}_t{task}"), rtol=1e-4)

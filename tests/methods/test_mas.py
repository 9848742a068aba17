"""MAS: its importance by hand, without labels, and added up over tasks."""

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.methods.mas import mas
from tests.methods import recorded, toy
from tests.methods.trainer import start


def test_head_bias_by_hand():
    params = toy.init()
    state = mas().end_task(mas().init(start(params)), toy.task_end(0, params, parts=1))
    logits = toy.apply(params, toy.data(0).image).logits
    np.testing.assert_allclose(state.importance["classifier"]["bias"], jnp.abs(2 * jnp.mean(logits, axis=0)), rtol=1e-5)


def test_labels_do_not_matter():
    params = toy.init()
    task = toy.task_end(0, params)
    blind = task._replace(
        loaders=(lambda: [b._replace(label=1 - b.label) for b in toy.task_end(0, params).loaders[0]()],)
    )
    one, other = (mas().end_task(mas().init(start(params)), t).importance for t in (task, blind))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_importances_of_tasks_add_up():
    params = toy.init()
    method = mas()
    first = method.end_task(method.init(start(params)), toy.task_end(0, params))
    second = method.end_task(method.init(start(params)), toy.task_end(1, params))
    both = method.end_task(first, toy.task_end(1, params))
    recorded.close(both.importance, jax.tree.map(jnp.add, first.importance, second.importance))

"""What stops after the first task, and that the number of the task is data."""

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.optim.stop import stop_after_first_task

PARAMS = {"features": {"kernel": jnp.ones(3)}, "classifier": {"kernel": jnp.ones(2)}}


def test_from_the_second_task_on_only_what_learns_on_is_updated():
    traces = []

    def learns_on(state, name):
        assert set(state) == {"tasks"}
        return name.startswith("classifier")

    link = stop_after_first_task(lambda state: state["tasks"], learns_on)

    @jax.jit
    def update(tasks):
        traces.append(1)
        updates = jax.tree.map(lambda leaf: 2 * leaf, PARAMS)
        return link.update(updates, link.init(PARAMS), PARAMS, method_state={"tasks": tasks}, progress=0.0)[0]

    for tasks in range(3):
        found = update(jnp.int32(tasks))
        np.testing.assert_array_equal(found["features"]["kernel"], jnp.full(3, 0.0 if tasks else 2.0))
        np.testing.assert_array_equal(found["classifier"]["kernel"], jnp.full(2, 2.0))
    assert len(traces) == 1

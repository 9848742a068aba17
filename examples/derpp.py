"""DER++ as a user writes it: lifeq-jax train RECIPE --method.name examples/derpp.py:derpp --method.args.alpha 0.5

A replayed image is also held to the logits that it had when its own task ended (Buzzega et al., NeurIPS 2020). Batches
number their images, so a table of logits by task and image is all the memory that it needs."""

import jax
import jax.numpy as jnp

import lifeq_jax as lq


def derpp(alpha: float = 0.2, beta: float = 0.5) -> lq.methods.Method:
    """State: (known (T, N), logits (T, N, K)) of T tasks, N images, K classes."""

    def init(start):
        shape = (start.num_tasks, start.num_rows, start.num_classes)
        return jnp.zeros(shape[:2]), jnp.zeros(shape)

    def example_loss(state, loss, forward):
        batch, values = forward.batch, loss(forward.examples)
        known, logits = (table[batch.task, batch.index] for table in state)
        error = known * jnp.mean(jnp.square(forward.outputs.logits - logits), axis=-1)
        return jnp.where(batch.is_replay, beta * values + alpha * error, values)

    def end_task(state, task):
        known, logits = state
        apply = jax.jit(task.apply)
        for batch in task.loaders[-1]():  # the images of this task that later ones replay
            place = jnp.where(batch.weight > 0, batch.index, known.shape[1])  # padding falls outside, and away
            known = known.at[task.task, place].set(1.0, mode="drop")
            logits = logits.at[task.task, place].set(apply(task.params, batch.image).logits, mode="drop")
        return known, logits

    return lq.methods.Method(init=init, example_loss=example_loss, end_task=end_task, needs_replay=True)

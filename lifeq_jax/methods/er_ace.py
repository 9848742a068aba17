"""ER-ACE: experience replay with asymmetric cross-entropy."""

import jax
import jax.numpy as jnp

from lifeq_jax.losses.base import Loss
from lifeq_jax.losses.classify import OUT
from lifeq_jax.methods.base import Forward, Method
from lifeq_jax.methods.penalty import check_share


def er_ace(full: float = 0.1) -> Method:
    """A new example's loss is taken over the classes of the batch's new examples, a replayed one's over all classes.

    New images then do not push the logits of old classes down, which would move the features of old images abruptly
    when a task begins; old and new classes are told apart by the replayed images alone. The paper's memory also holds
    images of the current task, whose loss is over all classes; replay here does not. In its place, a new example's loss
    is (1 - full) times that over the new classes plus `full` times that over all classes. full=0 is the paper's loss of
    new examples, under which the new classes lose to the old ones; full=1 is fine-tuning with replay.

    Any loss of the recipe can be used: it gets the logits of the other classes at `OUT`. Acts from the second task on;
    the classes are those of all devices. Source: Caccia et al., ICLR 2022, eq. (4). State: () float32, 1 in the first
    task, `full` from the second on.

    Args:
        full: see above; 0 to 1.

    Example:
        >>> lq.methods.er_ace(full=0.0).needs_replay
        True
    """
    full = check_share(full, "method.args.full")

    def example_loss(state: jax.Array, loss: Loss, forward: Forward) -> jax.Array:
        examples, is_new = forward.examples, ~forward.batch.is_replay
        num_classes = examples.logits.shape[-1]
        new_images = jax.ops.segment_sum(examples.weight * is_new, examples.label, num_segments=num_classes)
        is_open = (examples.across(new_images) > 0).reshape(1, -1) | ~is_new.reshape(-1, 1)
        among_new = loss(examples._replace(logits=jnp.where(is_open, examples.logits, OUT)))
        among_all = loss(examples)
        return jnp.where(is_new, (1 - state) * among_new + state * among_all, among_all)

    return Method(
        init=lambda start: jnp.ones(()),
        example_loss=example_loss,
        end_task=lambda state, task: jnp.float32(full),
        needs_replay=True,
    )

"""ER-ACE as a user writes it: lifeq-jax train RECIPE --method.name examples/er_ace.py:er_ace

From the second task on a new image's loss is taken over the classes of the batch's new images alone, a replayed one's
over all classes (Caccia et al., ICLR 2022). It works under any loss of the recipe, which gets other logits here."""

import jax
import jax.numpy as jnp

import lifeq_jax as lq

FAR = -1e9  # a logit that takes its class out


def er_ace() -> lq.methods.Method:
    """State: how many tasks are finished."""

    def example_loss(finished, loss, forward):
        examples, is_new = forward.examples, ~forward.batch.is_replay
        num_classes = examples.logits.shape[-1]
        new_images = jax.ops.segment_sum(examples.weight * is_new, examples.label, num_segments=num_classes)
        is_open = (examples.across(new_images) > 0)[None, :] | ~is_new[:, None]  # across: summed over devices
        limited = loss(examples._replace(logits=jnp.where(is_open, examples.logits, FAR)))
        return jnp.where(finished > 0, limited, loss(examples))

    return lq.methods.Method(
        init=lambda start: jnp.int32(0),
        example_loss=example_loss,
        end_task=lambda finished, task: finished + 1,
        needs_replay=True,
    )

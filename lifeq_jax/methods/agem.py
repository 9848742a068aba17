"""A-GEM: averaged gradient episodic memory."""

from lifeq_jax.methods.base import Method
from lifeq_jax.optim.project import follow_new_examples


def agem() -> Method:
    """Projects the gradient of the new examples so that, to first order, the loss of the replayed ones does not rise.

    Replayed images are not trained on; they only limit the step (optim/project.py). Momentum and weight decay come
    after the projection and may still raise that loss. Source: Chaudhry et al., Efficient Lifelong Learning with A-GEM,
    ICLR 2019, algorithm 1; its memory batch is the replayed part of the batch. No state.

    Example:
        >>> lq.methods.agem().needs_replay
        True
    """
    return Method(gradients=follow_new_examples(), needs_replay=True)

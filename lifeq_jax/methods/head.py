"""Which parameters of a network are its head: the last, linear layer, the module `classifier` of every model."""

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import PyTree

HEAD = "classifier"


def is_head(name: str) -> bool:
    """Whether the leaf of that name belongs to the head; of several tasks, to any of their heads."""
    return name.split("/")[0] == HEAD


def num_outputs(params: PyTree) -> int:
    """K, the outputs of all heads together: the columns of the head's kernel."""
    (kernel,) = (leaf for name, leaf in named_leaves(params).items() if is_head(name) and name.endswith("/kernel"))
    return kernel.shape[1]

"""Calibration: first ranges of learned quantizers, from training batches before the first step."""

from collections.abc import Callable, Iterable

import jax

from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import PyTree
from lifeq_jax.quant.codes import is_learned

ObserveRanges = Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]]
"""(params, batch_stats, ranges so far, image) -> (ranges, params with the learned state that they give)"""


def calibrate(observe_ranges: ObserveRanges, params: PyTree, batch_stats: PyTree, images: Iterable) -> PyTree:
    """`params` with the learned state of every quantizer set by its range estimator; unchanged where nothing learns."""
    if not any(map(is_learned, named_leaves(params))):
        return params
    observe = jax.jit(observe_ranges)
    ranges: PyTree = {}
    for image in images:
        ranges, params = observe(params, batch_stats, ranges, image)
    return params

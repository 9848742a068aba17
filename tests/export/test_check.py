"""What is said of a program that is not the network."""

import numpy as np
import pytest

from lifeq_jax.export.check import Images, compare
from lifeq_jax.export.integer import run
from lifeq_jax.export.lower import Pixels, lower
from tests.export.networks import CLASSES, SHAPE, SMALL, made, pixels, spec_of


@pytest.fixture(scope="module")
def network():
    return made(SMALL)


def compared(network, change, outputs=None):
    """A program whose tensors `change` has changed, beside the network."""
    numbers = spec_of(SHAPE).numbers()
    lowered = lower(*network, Pixels(SHAPE, numbers))
    change(lowered.program.tensors)
    given = Images(pixels(70, SHAPE), np.zeros(70, int), 0, np.arange(CLASSES) if outputs is None else outputs)
    runtimes = {"numpy": lambda image, task: run(lowered.program, image, task)}
    return compare(network, lowered, numbers, [given], runtimes)


def test_all_batches_count(network):
    flips, rows = compared(network, lambda tensors: None)
    assert flips.codes == 70 * 432 and flips.flipped == 0
    assert (rows["numpy"].images, rows["numpy"].same_class) == (70, 70)
    assert rows["numpy"].accuracy == rows["trained"].accuracy


def test_a_moved_threshold_is_seen(network):
    def half_a_level_up(tensors):
        tensors["stem/act/bias"] = tensors["stem/act/bias"] + (1 << (tensors["stem/act/shift"].astype(np.int64) - 1))

    flips, rows = compared(network, half_a_level_up)
    assert flips.flipped > 1000
    assert flips.images == 70
    assert 0.4 < flips.edge <= 0.5  # codes change whose values were up to half a level from the edge
    assert rows["numpy"].logits > 1e-3


def test_classes_are_chosen_among_the_outputs_of_the_task(network):
    _, rows = compared(network, lambda tensors: None, np.array([3, 4]))
    assert rows["trained"].accuracy == 0  # all labels are 0, which is no output of this task
    assert rows["numpy"].same_class == 70

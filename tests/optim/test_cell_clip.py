"""The cell constraint as the last link of the chain: it lands in the cells, through apply_updates in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.optim.cell_clip import Anchored, cell_clip
from lifeq_jax.quant.bit_alloc import codes, quantize_bits

SIZE = 4096
NAME = "layer/kernel"
BOUNDS = [1.0, 0.8660254, 1.999, 0.0757614, 3.8490018, 1e-6]
LINK = cell_clip(lambda state: {NAME: state})


def tree(kernel):
    return {"layer": {"kernel": kernel, "bias": jnp.ones(2)}}


def step(params, updates, state, link=LINK):
    landed, _ = link.update(updates, link.init(params), params, method_state=state)
    return optax.apply_updates(params, landed)


jit_step, jit_codes = jax.jit(lambda params, updates, state: step(params, updates, state)), jax.jit(codes)


def test_by_hand():
    # bound 1, 2 bits, level 1/4: a cell from 1/8 to 3/8; 0 bits: the range; a step inside is kept to the bit
    state = Anchored(jnp.full(4, 0.25), jnp.asarray([2, 2, 2, 0], jnp.int32), 1.0)
    params, updates = tree(jnp.full(4, 0.25)), tree(jnp.asarray([1.0, -1.0, 0.1, 5.0]))
    new = step(params, updates, state)
    np.testing.assert_allclose(new["layer"]["kernel"], [0.375, 0.125, 0.35, 1.0], atol=1e-6)
    assert new["layer"]["kernel"][2] == jnp.float32(0.25) + jnp.float32(0.1)
    np.testing.assert_array_equal(new["layer"]["bias"], [2.0, 2.0])
    full = step(params, updates, state, cell_clip(lambda state: {NAME: state}, cell="full"))
    np.testing.assert_allclose(full["layer"]["kernel"], [0.5, 0.0, 0.35, 1.0], atol=1e-6)


def test_updates_inside_are_kept_and_no_leaf_must_be_named():
    updates = tree(jnp.asarray([1e-3, -1e-3]))
    state = Anchored(jnp.asarray([0.5, 0.0]), jnp.asarray([3, 5], jnp.int32), 1.0)
    for link in (LINK, cell_clip(lambda state: {})):
        landed, _ = link.update(updates, link.init(updates), tree(state.anchor), method_state=state)
        jax.tree.map(np.testing.assert_array_equal, landed, updates)


def draw(seed, bound):
    """(weights, two updates, anchors and their bits), all of every size."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 21, SIZE)
    grid = np.round(rng.uniform(-1, 1, SIZE) * 2.0**bits) / 2.0**bits
    anchor = np.where(rng.random(SIZE) < 0.5, grid, rng.uniform(-1, 1, SIZE))
    params = np.where(rng.random(SIZE) < 0.5, anchor, rng.uniform(-1, 1, SIZE))
    scale = rng.choice([1e-9, 1e-7, 1e-5, 1e-2, 1.0, 1e3, 1e25], (2, SIZE))
    updates = np.float32(bound * scale * rng.normal(0, 1, (2, SIZE)))
    params, anchor = np.float32(bound * params), np.float32(bound * anchor)
    return params, updates, Anchored(jnp.asarray(anchor), jnp.asarray(bits, jnp.int32), jnp.float32(bound))


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), bound=st.sampled_from(BOUNDS) | st.floats(2**-6, 8, width=32))
def test_codes_are_the_anchors_after_every_update(seed, bound):
    params, updates, state = draw(seed, bound)
    expected = jit_codes(*state)
    params = tree(jnp.asarray(params))
    for update in updates:
        params = jit_step(params, tree(jnp.asarray(update)), state)
        found = jit_codes(params["layer"]["kernel"], state.bits, state.bound)
        np.testing.assert_array_equal(found, expected)
        assert np.abs(params["layer"]["kernel"]).max() <= bound


def test_weights_from_far_off_come_back_in_two_steps():
    bits = jnp.full(SIZE, 20, jnp.int32)
    anchor = quantize_bits(jnp.linspace(-1, 1, SIZE), bits, 1.0)
    params, still = tree(anchor[::-1] * 1e4), tree(jnp.zeros(SIZE))
    state = Anchored(anchor, bits, 1.0)
    for _ in range(2):
        params = step(params, still, state)
    np.testing.assert_array_equal(codes(params["layer"]["kernel"], bits, 1.0), codes(anchor, bits, 1.0))


def test_one_trace_serves_all_tasks():
    traces = []

    @jax.jit
    def counted(params, updates, state):
        traces.append(1)
        return step(params, updates, state)

    for seed in (0, 1):
        params, updates, state = draw(seed, 1.0)
        counted(tree(jnp.asarray(params)), tree(jnp.asarray(updates[0])), state)
    assert len(traces) == 1


def test_a_diverged_update_stays_visible():
    state = Anchored(jnp.zeros(2), jnp.asarray([0, 4], jnp.int32), 1.0)
    with jax.debug_nans(False):
        new = step(tree(jnp.zeros(2)), tree(jnp.asarray([jnp.nan, jnp.inf])), state)
    kernel = np.asarray(new["layer"]["kernel"])
    np.testing.assert_array_equal(np.isnan(kernel), [True, False])
    assert abs(kernel[1]) < 2.0**-5


@pytest.mark.parametrize("args", [{"cell": "whole"}, {"max_bits": 0}, {"max_bits": 21}])
def test_refusals(args):
    with pytest.raises(Refusal, match="choose from"):
        cell_clip(lambda state: state, **args)

"""What every row of QUANTIZERS holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.quant import QUANTIZERS
from lifeq_jax.quant.base import BITS, dequantize

VARIANTS = [(name, {}) for name in sorted(QUANTIZERS)] + [
    ("activation", {"normalize": True}),
    ("cdf", {"levels": "open"}),
    ("cdf_activation", {"levels": "open", "eval_ratio": 1.0}),
    ("cdf_activation", {"ratio": "none", "act_range": 0.7}),
    ("lsq", {"symmetric": False}),
    ("lsq", {"per_channel": True, "log_scale": True, "grad_scale": True}),
    ("lsq", {"symmetric": False, "per_channel": True, "estimator": "ewgs", "ranges": "running_minmax"}),
    ("lsq", {"estimator": "stacked_sigmoid", "ranges": "golden_section"}),
    ("lsq", {"estimator": "stochastic", "ranges": "minmax"}),
    ("proxq", {"levels": "open"}),
    ("proxq", {"range_": 0.5}),
]
TOO_FEW = {"lsq": (1,)}  # bits that a row refuses, by its own test
rows = pytest.mark.parametrize(("name", "args"), VARIANTS, ids=str)
at_bits = pytest.mark.parametrize(
    ("name", "args", "bits"),
    [(name, args, bits) for name, args in VARIANTS for bits in BITS if bits not in TOO_FEW.get(name, ())],
    ids=str,
)


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(3).normal(0.2, 0.5, (3, 3, 4, 8)), jnp.float32)


@at_bits
def test_value_is_the_dequantized_codes(name, args, bits, x):
    quantizer = QUANTIZERS[name](bits, **args)
    learned = quantizer.init(x)
    y = quantizer.apply(learned, x)
    assert (y.shape, y.dtype, quantizer.bits) == (x.shape, x.dtype, bits)
    if bits == 32:
        assert quantizer.codes is None
        np.testing.assert_array_equal(y, x)
    else:
        codes = quantizer.codes(learned, x)
        assert codes.values.dtype == jnp.int32
        np.testing.assert_array_equal(y, dequantize(codes))
        compiled = jax.jit(lambda a: (quantizer.apply(learned, a), dequantize(quantizer.codes(learned, a))))(x)
        np.testing.assert_array_equal(*compiled)


@rows
def test_jit_equals_eager_without_a_second_trace(name, args, x):
    quantizer = QUANTIZERS[name](4, **args)
    traces = []

    @jax.jit
    def compiled(learned, a):
        traces.append(1)
        return quantizer.apply(learned, a)

    learned = quantizer.init(x)
    np.testing.assert_allclose(compiled(learned, x), quantizer.apply(learned, x), rtol=1e-6, atol=1e-7)
    compiled(quantizer.init(x + 1), x + 1)
    assert len(traces) == 1


@at_bits
def test_gradients_are_finite_and_not_all_zero(name, args, bits, x):
    quantizer = QUANTIZERS[name](bits, **args)
    weights = jnp.linspace(-1, 1, x.size).reshape(x.shape)
    of_learned, of_x = jax.grad(lambda *state: jnp.sum(quantizer.apply(*state) * weights), (0, 1))(quantizer.init(x), x)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((of_learned, of_x)))
    assert np.any(of_x != 0)
    if bits < 32 and quantizer.ranges is not None:
        assert np.any(of_learned["scale"] != 0)


@rows
def test_pmap_equals_single(name, args, x):
    quantizer = QUANTIZERS[name](4, **args)
    stacked, learned = jnp.stack([x, x + 0.5]), quantizer.init(x)
    found = jax.pmap(lambda a: quantizer.apply(learned, a))(stacked)
    np.testing.assert_allclose(found[1], quantizer.apply(learned, stacked[1]), rtol=1e-6, atol=1e-7)


@rows
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_relaxed_values_are_within_half_a_step_of_their_codes(name, args, bits, x):
    quantizer = QUANTIZERS[name](bits, **args)
    learned = quantizer.init(x * 0.5)  # half of the range, so that learned grids clamp
    distance = jnp.abs(quantizer.relax(learned, x) - quantizer.apply(learned, x))
    step = quantizer.codes(learned, x).scale
    assert np.all(distance <= step * (0.5 + 1e-4))


def holdings(quantizer, seed, share):
    """(learned state, x, values, mask): the codes of one tensor, and another tensor and state near to the first."""
    draw = np.random.default_rng(seed)
    x = jnp.asarray(draw.normal(0.05, 0.5, (3, 3, 2, 4)), jnp.float32)
    fresh = jax.jit(quantizer.init)(x)
    learned = {key: leaf if key == "low" else leaf * 0.7 for key, leaf in fresh.items()}
    values = jax.jit(quantizer.codes)(learned, x).values
    mask = draw.random(x.shape) < share
    mask.flat[:2] = False  # two entries are free, whatever the share
    moved = x + jnp.asarray(draw.normal(0, 0.1, x.shape), jnp.float32)
    return {**learned, **{key: learned[key] * 1.2 for key in learned if key == "scale"}}, moved, values, mask


@at_bits
def test_held_entries_have_their_codes_and_the_others_stay(name, args, bits):
    quantizer = QUANTIZERS[name](bits, **args)
    if bits == 32:
        x = jnp.arange(3.0)
        np.testing.assert_array_equal(quantizer.hold({}, x, jnp.ones(3, int), jnp.ones(3, bool)), x)
        return
    hold, codes = jax.jit(quantizer.hold), jax.jit(quantizer.codes)
    for seed in range(8):
        for share in (0.1, 0.5, 0.9, 1.0):
            learned, x, values, mask = holdings(quantizer, seed, share)
            held = hold(learned, x, values, mask)
            # indexed by NumPy: JAX's own indexing took half of this test's time
            kept, given, found = (np.asarray(array) for array in (held, x, codes(learned, held).values))
            np.testing.assert_array_equal(kept[~mask], given[~mask])
            np.testing.assert_array_equal(found[mask], np.asarray(values)[mask], err_msg=f"{seed} {share}")
            again = hold(learned, held, values, mask)
            np.testing.assert_allclose(again, held, rtol=1e-5, atol=1e-6)


@rows
def test_gradient_through_hold_is_finite_and_misses_the_held(name, args):
    quantizer = QUANTIZERS[name](3, **args)
    for seed, share in ((0, 0.3), (1, 1.0)):
        learned, x, values, mask = holdings(quantizer, seed, share)
        cotangent = jnp.asarray(np.random.default_rng(9).normal(size=x.shape), jnp.float32)
        pullback = jax.vjp(lambda *state, v=values, m=mask: quantizer.hold(*state, v, m), learned, x)[1]
        of_learned, of_x = pullback(cotangent)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((of_learned, of_x)))
        np.testing.assert_array_equal(of_x[mask], 0)
        assert np.all(of_x[~mask] != 0)


@rows
def test_hold_of_nothing_changes_nothing_and_of_all_stays_finite(name, args, x):
    quantizer = QUANTIZERS[name](3, **args)
    learned = quantizer.init(x)
    values = quantizer.codes(learned, x).values
    np.testing.assert_array_equal(quantizer.hold(learned, x, values, jnp.zeros(x.shape, bool)), x)
    held, pullback = jax.vjp(lambda a: quantizer.hold(learned, a, values, jnp.ones(a.shape, bool)), x)
    np.testing.assert_array_equal(quantizer.codes(learned, held).values, values)
    assert np.all(np.isfinite(pullback(x)[0]))
    zeros = quantizer.hold(learned, jnp.zeros_like(x), values, jnp.ones(x.shape, bool))
    assert np.all(np.isfinite(zeros))


@pytest.mark.parametrize("name", sorted(QUANTIZERS))
@pytest.mark.parametrize("bits", [0, 9, 16, -1])
def test_other_bit_widths_are_refused(name, bits):
    with pytest.raises(Refusal, match=f"bits={bits} is not a bit-width; choose from 1 to 8, or 32"):
        QUANTIZERS[name](bits)

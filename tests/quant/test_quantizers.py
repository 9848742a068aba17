"""What every row of QUANTIZERS holds."""

from functools import cache, partial

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
X = np.random.default_rng(3).normal(0.2, 0.5, (3, 3, 4, 8)).astype(np.float32)
TOO_FEW = {"lsq": (1,)}  # bits that a row refuses, by its own test
rows = pytest.mark.parametrize(("name", "args"), VARIANTS, ids=str)
at_bits = pytest.mark.parametrize(
    ("name", "args", "bits"),
    [(name, args, bits) for name, args in VARIANTS for bits in BITS if bits not in TOO_FEW.get(name, ())],
    ids=str,
)


@pytest.fixture
def x():
    return jnp.asarray(X)


def at_each_bits(name, args):
    """{bits: quantizer}."""
    return {bits: QUANTIZERS[name](bits, **args) for bits in BITS if bits not in TOO_FEW.get(name, ())}


@cache
def compiled(name, **args):
    """{bits: (value of X, value of its codes, gradients of a weighted sum of values)}, all by one program."""
    weights = np.linspace(-1, 1, X.size, dtype=np.float32).reshape(X.shape)

    def found(quantizer, x):
        learned = quantizer.init(x)
        y, pullback = jax.vjp(quantizer.apply, learned, x)
        return y, dequantize(quantizer.codes(learned, x)) if quantizer.codes else x, pullback(jnp.asarray(weights))

    return jax.jit(lambda x: {bits: found(row, x) for bits, row in at_each_bits(name, args).items()})(X)


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
        np.testing.assert_array_equal(*compiled(name, **args)[bits][:2])


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
def test_gradients_are_finite_and_not_all_zero(name, args, bits):
    _, _, (of_learned, of_x) = compiled(name, **args)[bits]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((of_learned, of_x)))
    assert np.any(of_x != 0)
    if bits < 32 and QUANTIZERS[name](bits, **args).ranges is not None:
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


def tensors(*cases):
    """(tensors, others near to them, masks), stacked over cases (seed, share)."""

    def case(seed, share):
        draw = np.random.default_rng(seed)
        x = np.float32(draw.normal(0.05, 0.5, (3, 3, 2, 4)))
        mask = draw.random(x.shape) < share
        mask.flat[:2] = False  # two entries are free, whatever the share
        return x, x + np.float32(draw.normal(0, 0.1, x.shape)), mask

    return tuple(np.stack(arrays) for arrays in zip(*(case(*args) for args in cases), strict=True))


HOLDINGS = tensors(*((seed, share) for seed in range(8) for share in (0.1, 0.5, 0.9, 1.0)))


def state_and_codes(quantizer, x):
    """(learned state, values): the codes of x, and a state near to theirs."""
    learned = {key: leaf if key == "low" else leaf * 0.7 for key, leaf in quantizer.init(x).items()}
    values = quantizer.codes(learned, x).values
    return {key: leaf * 1.2 if key == "scale" else leaf for key, leaf in learned.items()}, values


@cache
def holdings(name, **args):
    """{bits: (values to hold, tensors that hold them, their codes, held once more)}, all held by one program."""
    x, moved, mask = HOLDINGS
    quantizers = {bits: quantizer for bits, quantizer in at_each_bits(name, args).items() if bits < 32}
    starts = {bits: jax.vmap(partial(state_and_codes, quantizer))(x) for bits, quantizer in quantizers.items()}

    @jax.jit
    def hold(starts, x):
        # one case after the other: under vmap both branches of a `lax.cond` would run
        return {
            bits: jax.lax.map(lambda case, hold=quantizers[bits].hold: hold(*case), (learned, x[bits], values, mask))
            for bits, (learned, values) in starts.items()
        }

    held = hold(starts, dict.fromkeys(quantizers, moved))
    again = hold(starts, held)

    def found(bits):
        learned, values = starts[bits]
        return values, held[bits], jax.vmap(quantizers[bits].codes)(learned, held[bits]).values, again[bits]

    return {bits: jax.device_get(found(bits)) for bits in quantizers}


@at_bits
def test_held_entries_have_their_codes_and_the_others_stay(name, args, bits):
    if bits == 32:
        x, hold = np.arange(3.0), QUANTIZERS[name](bits, **args).hold
        np.testing.assert_array_equal(hold({}, x, np.ones(3, int), np.ones(3, bool)), x)
        return
    _, moved, mask = HOLDINGS
    values, held, found, again = holdings(name, **args)[bits]
    np.testing.assert_array_equal(held[~mask], moved[~mask])
    np.testing.assert_array_equal(found[mask], values[mask])
    np.testing.assert_allclose(again, held, rtol=1e-5, atol=1e-6)


@rows
def test_gradient_through_hold_is_finite_and_misses_the_held(name, args):
    quantizer = QUANTIZERS[name](3, **args)
    cases = tensors((0, 0.3), (1, 1.0))

    def gradients(case):
        x, moved, mask = case
        learned, values = state_and_codes(quantizer, x)
        pullback = jax.vjp(lambda *state: quantizer.hold(*state, values, mask), learned, moved)[1]
        return pullback(jnp.asarray(np.random.default_rng(9).normal(size=x.shape), jnp.float32))

    of_learned, of_x = jax.device_get(jax.jit(partial(jax.lax.map, gradients))(cases))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((of_learned, of_x)))
    np.testing.assert_array_equal(of_x[cases[-1]], 0)
    assert np.all(of_x[~cases[-1]] != 0)


@rows
def test_hold_of_nothing_changes_nothing_and_of_all_stays_finite(name, args, x):
    quantizer = QUANTIZERS[name](3, **args)
    learned = quantizer.init(x)
    values = quantizer.codes(learned, x).values

    @jax.jit
    def value_and_vjp(a, mask):
        held, pullback = jax.vjp(lambda a: quantizer.hold(learned, a, values, mask), a)
        return held, pullback(x)[0]

    everywhere = np.ones(x.shape, bool)
    np.testing.assert_array_equal(value_and_vjp(x, ~everywhere)[0], x)
    held, gradient = value_and_vjp(x, everywhere)
    np.testing.assert_array_equal(quantizer.codes(learned, held).values, values)
    assert np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(value_and_vjp(jnp.zeros_like(x), everywhere)[0]))


@pytest.mark.parametrize("name", sorted(QUANTIZERS))
@pytest.mark.parametrize("bits", [0, 9, 16, -1])
def test_other_bit_widths_are_refused(name, bits):
    with pytest.raises(Refusal, match=f"bits={bits} is not a bit-width; choose from 1 to 8, or 32"):
        QUANTIZERS[name](bits)

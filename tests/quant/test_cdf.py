from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lifeq_jax.quant.base import dequantize
from lifeq_jax.quant.cdf import RATIOS, cdf, cdf_activation, sample_normalized
from lifeq_jax.quant.uniform import minmax
from tests.quant.pullback import value_and_vjp
from tests.refusals import refused


def normal(size, mean=0.0, std=1.0, seed=0):
    return np.float32(np.random.default_rng(seed).normal(mean, std, size))


@cache
def compiled(bits):
    """Codes and hold of a quantizer of weights."""
    quantizer = cdf(bits)
    return jax.jit(quantizer.codes), jax.jit(quantizer.hold)


def of_batch(bits, share, ratio="class", **args):
    return cdf_activation(bits, ratio=ratio, **args).of_batch(jnp.asarray(share, jnp.float32))


def test_weights_by_hand():  # mean 3, deviation 2; Phi(-1), Phi(0), Phi(1) = 0.159, 1/2, 0.841
    x = jnp.array([1.0, 3.0, 5.0])
    np.testing.assert_allclose(cdf(2).apply({}, x), [-1, 1 / 3, 1], rtol=1e-6)  # 0.48, 1.5 (a tie), 2.52 steps
    np.testing.assert_array_equal(cdf(2).codes({}, x).values, [0, 2, 3])
    np.testing.assert_array_equal(cdf(1).apply({}, x), [-1, -1, 1])
    np.testing.assert_array_equal(cdf(1, levels="open").apply({}, x), [1, 1, 1])


def test_a_constant_tensor_is_all_mean():
    y, gx = value_and_vjp(cdf(4), np.full(5, 0.7, np.float32), np.ones(5, np.float32))
    np.testing.assert_allclose(y, np.full(5, 1 / 15), rtol=1e-6)
    assert np.all(np.isfinite(gx))


def test_activations_by_hand():  # sigma 2: Phi(-1/2), Phi(0), Phi(1), Phi(4) = 0.309, 1/2, 0.841, 1
    x = np.float32([[-1.0, 0.0, 2.0, 8.0]])
    y, gx = value_and_vjp(cdf_activation(2), x, np.ones((1, 4), np.float32))
    np.testing.assert_allclose(y, [[-2 / 3, 2 / 3, 2, 2]], rtol=1e-6)
    np.testing.assert_allclose(gx, 2 * stats.norm.pdf(x / 2), rtol=1e-5)  # 2 act_range density(x / sigma) / sigma
    np.testing.assert_array_equal(cdf_activation(1, act_range=0.5).apply({}, x), [[-0.5, -0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(cdf_activation(1, levels="open").apply({}, x), [[2, 2, 2, 2]])


def test_class_scaling_by_hand():
    """An example whose class fills the batch passes N(0, 1), one of a vanishing class N(0, 2^2)."""
    share, x = [1.0, 0.5, 0.0], jnp.full((3, 1), 1.5)
    expected = 2 * (2 * stats.norm.cdf([1.5, 1.0, 0.75]) - 1)
    np.testing.assert_allclose(of_batch(8, share).relax({}, x)[:, 0], expected, rtol=1e-6)
    # Sum 3/2: p = 2/3, 1/3 and 0.
    expected = 2 * (2 * stats.norm.cdf([9 / 8, 9 / 10, 3 / 4]) - 1)
    found = of_batch(8, share, ratio="sample_normalized").relax({}, x)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_evaluation_takes_the_ratio_of_its_own():
    x = normal((4, 3))
    for ratio in RATIOS:
        for p in (0.0, 0.25, 1.0):
            found = cdf_activation(8, ratio=ratio, eval_ratio=p).relax({}, x)
            np.testing.assert_allclose(found, 2 * (2 * stats.norm.cdf(x / (2 - p)) - 1), atol=1e-6)


def test_without_class_ratios_there_is_no_quantizer_of_a_batch():
    assert cdf_activation(4, ratio="none").of_batch is None
    assert cdf_activation(32).of_batch is None
    assert cdf(4).of_batch is None


@pytest.mark.parametrize("bits", range(1, 9))
def test_weights_of_any_normal_distribution_use_the_levels_evenly(bits):
    size, steps = 40_000, 2**bits - 1
    expected = size * np.array([0.5, *np.ones(steps - 1), 0.5]) / steps
    for mean, std in ((0.0, 1.0), (0.3, 0.01)):
        found = np.bincount(cdf(bits).codes({}, normal(size, mean, std)).values, minlength=steps + 1)
        assert len(found) == steps + 1
        assert np.max(np.abs(found - expected) / np.sqrt(expected)) < 5  # standard errors


def test_weights_carry_more_information_than_plain_uniform_ones():
    x = normal(40_000)
    found, plain = (stats.entropy(np.bincount(q(4).codes({}, x).values), base=2) for q in (cdf, minmax))
    assert found > 3.85 > 3.3 > plain


def test_activations_spread_like_their_class_use_the_levels_evenly():
    """x ~ N(0, (2 - p)^2) for examples of class ratio p, as the scaling assumes."""
    share = np.array([0.0, 0.3, 1.0])
    x = np.float32(normal((3, 20_000)) * (2 - share[:, None]))
    for codes in of_batch(3, share).codes({}, x).values:
        expected = 20_000 * np.array([0.5, *np.ones(6), 0.5]) / 7
        assert np.max(np.abs(np.bincount(codes) - expected) / np.sqrt(expected)) < 5


def test_normalizing_over_samples_leaves_next_to_no_scaling():
    images = np.array([40, 25, 20, 13, 10, 8, 5, 4, 2, 1])
    share = jnp.asarray(np.repeat(images, images) / images.sum(), jnp.float32)
    assert float(jnp.ptp(RATIOS["class"](share))) > 0.3
    assert float(jnp.max(sample_normalized(share))) < 0.015
    np.testing.assert_allclose(jnp.sum(sample_normalized(share)), 1, rtol=1e-5)


def test_batches_of_one_and_of_padding_alone():
    np.testing.assert_array_equal(sample_normalized(jnp.array([0.5])), [0.5])
    np.testing.assert_array_equal(sample_normalized(jnp.zeros(3)), np.zeros(3))


@pytest.mark.parametrize("act_range", [1.0, 1.7, 2.0])
@pytest.mark.parametrize("bits", range(1, 9))
def test_opposite_levels_cancel_exactly_and_pass_no_gradient(bits, act_range):
    """Compiled with a fused product and sum, one summand is not rounded; a residue then opens a ReLU that is shut."""
    quantizer, x, other = cdf_activation(bits, act_range=act_range), normal((64, 32)), normal((64, 32), seed=1)
    values, mask = 2**bits - 1 - np.asarray(quantizer.codes({}, x).values), np.tile([True, False], (64, 16))
    other = quantizer.hold({}, other, values, mask)

    @jax.jit
    def block(x, other):
        return jax.nn.relu(quantizer.apply({}, x) + quantizer.apply({}, other))

    y, gradient = jax.device_get((block(x, other), jax.jit(jax.grad(lambda x: jnp.sum(block(x, other))))(x)))
    np.testing.assert_array_equal(y[mask], 0)
    np.testing.assert_array_equal(gradient[mask], 0)
    np.testing.assert_array_equal(gradient > 0, y > 0)
    assert 0.2 < np.mean(y[~mask] > 0) < 0.6


@pytest.mark.parametrize("ratio", ["class", "sample_normalized"])
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_quantizer_of_a_batch_is_a_quantizer(bits, ratio):
    x, values = normal((6, 4, 3)), np.random.default_rng(1).integers(0, 2**bits, (6, 4, 3))
    traces, mask = [], values % 2 == 0

    @jax.jit
    def found(share, x):
        traces.append(1)
        quantizer = of_batch(bits, share, ratio=ratio)
        held = quantizer.hold({}, x, values, mask)
        return quantizer.apply({}, x), quantizer.codes({}, x), held, quantizer.codes({}, held).values

    for share in (np.full(6, 1 / 6), np.array([3, 3, 3, 2, 2, 1]) / 6):
        y, codes, held, again = jax.device_get(found(share, x))
        np.testing.assert_array_equal(y, dequantize(codes))
        np.testing.assert_array_equal(of_batch(bits, share, ratio=ratio).apply({}, x), y)
        np.testing.assert_array_equal(again[mask], values[mask])
        np.testing.assert_array_equal(held[~mask], x[~mask])
    assert len(traces) == 1


def test_no_gradient_reaches_the_shares():
    x = normal((6, 4))
    found = jax.jit(jax.grad(lambda share: jnp.sum(of_batch(3, share).apply({}, x))))(np.full(6, 0.5, np.float32))
    np.testing.assert_array_equal(found, np.zeros(6))


def test_two_devices_give_what_one_gives():
    x, share = normal((6, 4)), np.float32([3, 3, 3, 2, 2, 1]) / 6
    expected = of_batch(4, share).apply({}, x)
    found = jax.pmap(lambda share, x: of_batch(4, share).apply({}, x))(share.reshape(2, 3), x.reshape(2, 3, 4))
    np.testing.assert_array_equal(found.reshape(6, 4), expected)


@pytest.mark.parametrize("free", [2, 3, 10])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_nearly_all_held(free, bits):
    """The free entries alone must make up for the spread and mean that the held ones need."""
    codes, hold = compiled(bits)
    for seed in range(10):
        draw = np.random.default_rng(seed)
        x = np.float32(draw.normal(0.1, 0.2, 64))
        values, mask = np.asarray(codes({}, x).values), np.arange(64) >= free
        x[:free] += draw.normal(0, 0.3, free)
        held = hold({}, x, values, mask)
        np.testing.assert_array_equal(np.asarray(codes({}, held).values)[free:], values[free:])


@pytest.mark.parametrize(
    ("make", "args", "message"),
    [
        (cdf, {"levels": "half"}, "levels='half' is unknown; choose from exact, open"),
        (cdf_activation, {"levels": "half"}, "levels='half' is unknown; choose from exact, open"),
        (cdf_activation, {"ratio": "batch"}, "ratio='batch' is unknown; choose from class, none, sample_normalized"),
        (cdf_activation, {"act_range": 0.0}, "act_range=0.0 must be positive and finite"),
        (cdf_activation, {"act_range": float("inf")}, "act_range=inf must be positive and finite"),
        (cdf_activation, {"eval_ratio": 1.5}, "eval_ratio=1.5 is out of range; choose 0 to 1"),
    ],
)
def test_refusals(make, args, message):
    assert refused(make, 4, **args) == message

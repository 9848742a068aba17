from functools import cache, partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant.base import dequantize
from lifeq_jax.quant.estimators import rounding
from lifeq_jax.quant.lsq import Form, Grid, learned_from, lsq, straight_to_grid
from tests import vectors
from tests.refusals import refused
from tests.torch_layout import under

CASES, CLAMP_CASES = vectors.cases("osc_uniform_quantizer"), vectors.cases("osc_clamp_convention")
ESTIMATOR = {"ste": "ste", "ewgs": "ewgs", "stacked_sigmoid": "stacked_sigmoid", "stoch_round": "stochastic"}


def channels_last(case, array):
    """The golden arrays have their channels first, ours last."""
    return np.moveaxis(array, 0, -1) if case["per_channel"] and np.ndim(array) else np.asarray(array)


class Case:
    """One golden case in our layout: its arrays by name, and our quantizer."""

    def __init__(self, file, name):
        self.name, self.case = name, vectors.cases(file)[name]
        case, arrays = self.case, under(vectors.arrays(file), f"{name}_")
        self.arrays = {key: channels_last(case, array) for key, array in arrays.items()}
        self.quantizer = lsq(
            case["n_bits"],
            symmetric=case["method"] == "sym",
            per_channel=case["per_channel"],
            log_scale=case["scale_domain"] == "log",
            grad_scale=case["grad_scaling"],
            estimator=ESTIMATOR[case["discretizer"]],
            estimator_arg=case["discretizer_arg"] or 0.0,
        )

    def learned(self):
        """The learned state that the case begins with."""
        if "delta" in self.arrays:
            scale = self.arrays["delta"]
        else:
            scale = np.log(self.arrays["scale"]) if self.case["scale_domain"] == "log" else self.arrays["scale"]
        rest = {"low": np.float32(self.case["int_min"])} if self.case["method"] == "sym" else {}
        if self.case["method"] == "asym" and "zero_float" in self.arrays:
            rest = {"zero": self.arrays["zero_float"]}
        return {"scale": scale, **rest}

    def found(self, learned, arrays):
        """(value, gradients, (the learned state of the range, the grid's lowest and highest value), codes)."""
        key = jax.random.key(0) if "noise" in arrays else None
        with mock.patch.object(jax.random, "uniform", lambda key, shape, dtype: arrays["noise"]):  # the original's
            y, pullback = jax.vjp(lambda state, a: self.quantizer.apply(state, a, key), learned, arrays["x"])
        case, shape, far = self.case, arrays["scale"].shape, jnp.full(arrays["x"].shape, 1e6)
        form = Form(
            case["n_bits"], case["method"] == "sym", case["per_channel"],
            case["scale_domain"] == "log", False, lambda v, key: jnp.round(v),
        )  # fmt: skip
        ends = (jnp.reshape(arrays[key], shape) for key in ("range_min", "range_max"))
        bounds = (self.quantizer.relax(learned, end) for end in (-far, far))
        codes = self.quantizer.codes(learned, arrays["x"])
        return y, pullback(arrays["g"]), (learned_from(form, *ends), *bounds), codes

    def close(self, found, key, terms=None):
        """found equals the array `key` to 1e-5; `terms` is the size of what a sum adds up and cancels."""
        expected = self.arrays[key]
        atol = 1e-6 * np.max(np.abs(expected) if terms is None else terms)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol, err_msg=f"{self.name} {key}")

    def sums(self):
        """Sizes of the terms that the gradients of scale and zero point add up, per grid."""
        axes = tuple(range(self.arrays["x"].ndim - self.case["per_channel"]))
        size = np.sum(np.abs(self.arrays["g"]), axes) * self.case["grad_scale"]
        scale = np.max(self.arrays["scale"])
        return size * (scale if self.case["scale_domain"] == "log" else 1), size * scale


def value_and_vjp(function, learned, x, cotangent):
    """(value, the gradients of the learned state and of x that `cotangent` becomes), compiled."""

    @jax.jit
    def found(learned, x, cotangent):
        y, pullback = jax.vjp(function, learned, x)
        return y, *pullback(cotangent)

    return found(learned, np.float32(x), np.float32(cotangent))


def kind(name):
    return tuple(CASES[name][key] for key in ("n_bits", "method", "per_channel"))


@cache
def of_kind(*given):
    """{name: (case, what is found)}, by one program for all cases of a kind."""
    cases = {name: Case("osc_uniform_quantizer", name) for name in CASES if kind(name) == given}
    inputs = {name: (case.learned(), case.arrays) for name, case in cases.items()}
    found = jax.jit(lambda inputs: {name: case.found(*inputs[name]) for name, case in cases.items()})(inputs)
    return {name: (case, found[name]) for name, case in cases.items()}


@pytest.mark.parametrize("name", CASES)
def test_lsq_is_the_original(name):
    case, (y, (found, gx), _, codes) = of_kind(*kind(name))[name]
    arrays = case.arrays
    case.close(y, "y")
    case.close(gx, "gx")
    at_scale, at_zero = case.sums()
    case.close(found["scale"], "gdelta", at_scale)
    if "gzero" in arrays:
        case.close(found["zero"], "gzero", at_zero)
    else:
        assert found["low"] == 0
    if "noise" not in arrays:
        np.testing.assert_array_equal(codes.values, arrays["x_int"])
        np.testing.assert_array_equal(dequantize(jax.device_get(codes)), y)
        case.close(codes.scale, "scale")
        if "zero_point" in arrays:
            np.testing.assert_array_equal(codes.zero, arrays["zero_point"])


@pytest.mark.parametrize("name", CASES)
def test_the_range_gives_the_original_state_and_the_grid_its_bounds(name):
    case, (_, _, (learned, *bounds), _) = of_kind(*kind(name))[name]
    case.close(learned["scale"], "delta")
    if "zero" in learned:
        case.close(learned["zero"], "zero_float")
    else:
        assert learned["low"] == case.case["int_min"]
    ones = np.ones(case.arrays["x"].shape, np.float32)
    for found, key in zip(bounds, ("xmin_prop", "xmax_prop"), strict=True):
        np.testing.assert_allclose(found, case.arrays[key] * ones, rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", CLAMP_CASES)
def test_gradient_at_the_bounds_is_the_original(name):
    case = Case("osc_clamp_convention", name)
    learned = case.learned()
    if case.case["method"] == "asym":  # this family has no zero point; the other does, for the same case
        learned["zero"] = vectors.arrays("osc_uniform_quantizer")[f"{name}_zero_float"]
    x = case.arrays["x"]
    _, found, gx = value_and_vjp(case.quantizer.apply, learned, x, case.arrays["g"])
    np.testing.assert_array_equal(jax.jit(case.quantizer.codes)(learned, x).values, case.arrays["x_int"])
    case.close(gx, "gx_191")
    case.close(found["scale"], "gdelta_191", case.sums()[0])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_straight_through_gradient_is_jaxs_own(symmetric, per_channel):
    form = Form(3, symmetric, per_channel, False, False, rounding("ste", 0.0))
    random = np.random.default_rng(0)
    x, cotangent = random.normal(size=(2, 50, 4))
    shape = (1, 4) if per_channel else ()
    scale, zero = random.uniform(0.1, 0.4, shape), random.integers(1, 6, shape)
    low = np.float32(-4.0 if symmetric else 0.0)
    grid = Grid(np.float32(scale), np.float32(0) if symmetric else np.float32(zero), low)
    found, expected = (
        value_and_vjp(partial(function, form), grid, x, cotangent)[1:]
        for function in (straight_to_grid, straight_to_grid.fun)
    )
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)
    for name in ("scale", *([] if symmetric else ["zero"])):
        one, other = (getattr(gradient[0], name) for gradient in (found, expected))
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, err_msg=name)


def test_symmetric_by_hand():
    x = np.array([-1.0, -0.3, 0.25, 0.26, 0.9])  # scale 0.5: -2, -0.6, 0.5, 0.52, 1.8 -> -2, -1, 0, 1, 1
    learned = {"scale": np.float32(0.5), "low": np.float32(-2)}
    y, found, gx = value_and_vjp(lsq(2).apply, learned, x, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(y, [-1, -0.5, 0, 0.5, 0.5])
    np.testing.assert_array_equal(gx, [1, 2, 3, 4, 0])
    # round(v) - v inside: 0, -0.4, -0.5, 0.48; the bound 1 outside
    np.testing.assert_allclose(found["scale"], 2 * -0.4 + 3 * -0.5 + 4 * 0.48 + 5 * 1, rtol=1e-5)
    _, scaled, _ = value_and_vjp(lsq(2, grad_scale=True).apply, learned, x, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(scaled["scale"], found["scale"] / np.sqrt(5 * 1), rtol=1e-6)


def test_asymmetric_by_hand():
    x = np.float32([-1.0, 0.0, 0.6, 2.0])  # scale 0.5, zero 1: -2 + 1 -> 0, 1, 1 + 1, 4 + 1 -> 3
    learned = {"scale": np.float32(0.5), "zero": np.float32(1.2)}
    quantizer = lsq(2, symmetric=False)
    np.testing.assert_array_equal(jax.jit(quantizer.codes)(learned, x).values, [0, 1, 2, 3])
    y, found, gx = value_and_vjp(quantizer.apply, learned, x, np.ones(4))
    np.testing.assert_array_equal(y, [-0.5, 0, 0.5, 1])
    np.testing.assert_array_equal(gx, [0, 1, 1, 0])
    np.testing.assert_allclose(found["zero"], -0.5 * 2, rtol=1e-6)  # only the two that are clamped


def test_unsigned_where_nothing_is_negative():
    learned = lsq(3).init(jnp.array([0.0, 1.0, 14.0]))
    assert (learned["low"], learned["scale"]) == (0, 2)
    assert lsq(3).init(jnp.array([-0.1, 1.0, 14.0]))["low"] == -4


def test_relax_by_hand():
    learned = {"scale": np.float32(0.5), "low": np.float32(-2)}
    x = [-3.0, -1.0, 0.1, 0.5, 0.6]
    y, found, gx = value_and_vjp(lsq(2, grad_scale=True).relax, learned, x, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(y, [-1, -1, 0.1, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(gx, [0, 2, 3, 4, 0])
    assert (found["scale"], found["low"]) == (1 * -2 + 5 * 1, 0)


@pytest.mark.parametrize("args", [{}, {"symmetric": False}, {"log_scale": True}, {"per_channel": True}], ids=str)
def test_held_weights_give_the_scale_the_gradient_of_a_constant_code(args):
    x = np.float32(np.random.default_rng(0).normal(size=(5, 4)))
    quantizer = lsq(3, grad_scale=True, **args)
    learned = jax.jit(quantizer.init)(x)
    codes, everywhere = jax.device_get(jax.jit(quantizer.codes)(learned, x)), np.ones(x.shape, bool)
    hold = lambda *state: quantizer.hold(*state, codes.values, everywhere)  # noqa: E731
    _, held, gx = value_and_vjp(hold, learned, x, np.ones(x.shape))
    np.testing.assert_array_equal(gx, np.zeros(x.shape))
    axes, shared, top = ((0,), 5, 3) if "per_channel" in args else ((0, 1), 20, 7 if "symmetric" in args else 3)
    expected = np.sum(codes.values - codes.zero, axes, keepdims="per_channel" in args) / np.sqrt(shared * top)
    if "log_scale" in args:
        expected = expected * codes.scale
    np.testing.assert_allclose(held["scale"], expected, rtol=1e-5, atol=1e-6)


def test_gradient_scale_of_the_scale_is_that_of_values_that_share_it():
    x, ones = np.full((8, 2), 0.3), np.ones((8, 2))
    learned = {"scale": np.ones((1, 2), np.float32), "low": np.float32(-4)}
    found, plain = (
        value_and_vjp(lsq(3, per_channel=True, grad_scale=scaled).apply, learned, x, ones)[1]["scale"]
        for scaled in (True, False)
    )
    np.testing.assert_allclose(found, plain / np.sqrt(8 * 3), rtol=1e-6)


def test_a_scale_below_its_least_is_lifted_and_learns_nothing():
    learned = {"scale": np.float32(-1.0), "low": np.float32(-4)}
    y, found, _ = value_and_vjp(lsq(3).apply, learned, np.ones(3), np.ones(3))
    np.testing.assert_allclose(y, np.full(3, 3e-8), rtol=1e-5)
    assert found["scale"] == 0


@pytest.mark.parametrize("args", [{"estimator": "stochastic"}, {}], ids=str)
def test_only_a_noisy_quantizer_draws_from_the_key(args):
    x = jnp.asarray(np.random.default_rng(0).normal(size=500), jnp.float32)
    quantizer = lsq(3, **args)
    learned = quantizer.init(x)
    assert quantizer.noisy == bool(args)
    moved = quantizer.apply(learned, x, jax.random.key(0)) != quantizer.apply(learned, x)
    assert np.any(moved) == quantizer.noisy


def test_one_bit_is_refused():
    line = "bits=1 is too few for lsq, whose signed grid would be -1 and 0; choose from 2 to 8, or 32"
    assert refused(lsq, 1) == line

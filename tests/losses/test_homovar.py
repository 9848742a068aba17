"""HomoVar against the original, by hand, and for any counts; what its test of spreads finds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeq_jax.losses.base import Examples
from lifeq_jax.losses.homovar import (
    STATISTICS,
    Homogeneity,
    Spreads,
    binary_cross_entropy,
    distance_to_bounds,
    homogeneity,
    homovar,
    of_batch,
    of_original,
)
from lifeq_jax.losses.rebalance import effective_weights
from tests import vectors
from tests.refusals import refused
from tests.torch_layout import under

CASES = [case for (case,) in vectors.keys("cq_homovar_loss", "(.+)/counts")]
FINITE = [case for case in CASES if not np.isnan(vectors.arrays("cq_homovar_loss")[f"{case}/loss"])]
close = vectors.close


def made(feature, label, counts, logits=None):
    feature, label, counts = jnp.asarray(feature, jnp.float32), jnp.asarray(label), jnp.asarray(counts, jnp.float32)
    logits = jnp.zeros((len(label), len(counts))) if logits is None else jnp.asarray(logits)
    return Examples(logits, feature, label, jnp.ones(len(label)), counts, jnp.zeros(()))


class Case(NamedTuple):
    """A recorded case, and what comes out for it."""

    args: dict
    arrays: dict[str, np.ndarray]
    examples: Examples
    spreads: Spreads
    found: Homogeneity
    log_betas: jax.Array


def recorded(case):
    arrays = under(vectors.arrays("cq_homovar_loss"), f"{case}/")
    return arrays, made(arrays["features"], arrays["labels"].astype(np.int32), arrays["counts"], arrays["logits"])


@jax.jit
def of_the_original(feature, label, counts, alpha, log_beta):
    spreads = of_original(made(feature, label, counts))
    found = homogeneity(spreads, alpha, negative=True)
    return spreads, found, log_beta / distance_to_bounds(counts, found, 0.0)


@pytest.fixture(scope="module", params=FINITE)
def case(request):
    (arrays, examples), args = recorded(request.param), vectors.scalars("cq_homovar_loss", f"{request.param}/")
    log_beta = np.log(args["beta_factor"])
    found = of_the_original(examples.feature, examples.label, examples.counts, args["alpha"], log_beta)
    return Case(args, arrays, examples, *jax.tree.map(np.asarray, found))


def test_golden_statistics(case):
    arrays, found = case.arrays, case.spreads
    close(found.mean.T, arrays["Xi_mean"])
    close(found.deviation, arrays["zij"].sum(1))
    close(found.spread, arrays["zi_mean"][0])
    close(found.center, arrays["z_mean"])
    close(found.within, arrays["ssw"])


def test_golden_homogeneity(case):
    arrays, spreads, found = case.arrays, case.spreads, case.found
    square, sums = spreads.center**2, spreads.size * spreads.spread
    close(found.critical, arrays["f_score"])
    close(found.between * square, arrays["sb"][0])
    close(np.sum(found.between) * square / (len(sums) - 1), arrays["ssb"])
    close(found.slack * square, arrays["C"][0])
    close(square, arrays["a"])
    close(-(2 * spreads.center * sums + found.slack * square), arrays["b"][0])
    close(sums**2, arrays["c"])
    bounded = ~np.isnan(arrays["n_lb"][0])
    np.testing.assert_array_equal(np.isfinite(found.upper), bounded)
    for actual, name in ((found.lower, "n_lb"), (found.upper, "n_ub")):
        for expected in (arrays[name][0], arrays[f"{name}_f64"][0]):
            close(np.append(actual[bounded], 0.0), np.append(expected[bounded], 0.0))


def test_golden_weights(case):
    arrays, counts = case.arrays, np.array(case.examples.counts)
    close(np.exp(case.log_betas), arrays["beta"])
    rounding = 2.0**-24 / (1 - arrays["beta"].astype(float))  # the original's own, relative, in 1 - beta
    error = np.abs(-np.expm1(counts * case.log_betas) / arrays["effective_num"] - 1)
    assert np.all(error <= np.maximum(1e-5, 2 * rounding))
    weights = jax.jit(effective_weights)(counts, case.log_betas)
    np.testing.assert_allclose(weights, arrays["weights_f64"], rtol=1e-5)
    close(weights, arrays["per_class_weights"])


def test_golden_loss(case):
    arrays, examples = case.arrays, case.examples
    loss = homovar(case.args["alpha"], case.args["beta_factor"], statistics="original")
    value, (glogits, gfeature) = jax.jit(
        jax.value_and_grad(lambda z, x: jnp.mean(loss(examples._replace(logits=z, feature=x))), argnums=(0, 1))
    )(examples.logits, examples.feature)
    close(value, arrays["loss"])
    close(value, arrays["loss_f64"])
    exact = (arrays["weights_f64"] / arrays["per_class_weights"])[arrays["labels"]]  # undoes the original's rounding
    close(glogits, arrays["glogits"] * exact[:, None])
    np.testing.assert_array_equal(gfeature, np.zeros_like(gfeature))


@pytest.mark.parametrize("name", sorted({*CASES} - {*FINITE}))
def test_classes_without_images_change_nothing_for_the_others(name):
    """Where the original is NaN. They are the last ones here."""
    _, examples = recorded(name)
    feature, label, counts = map(np.asarray, (examples.feature, examples.label, examples.counts))
    seen = np.sum(counts > 0)
    parts = feature[label < seen], label[label < seen]
    (_, with_them, _), (_, without, _) = (
        jax.tree.map(np.asarray, of_the_original(*parts, n, 0.05, -1e-3)) for n in (counts, counts[:seen])
    )
    close(with_them.slack[:seen], without.slack)
    np.testing.assert_array_equal(np.isfinite(with_them.upper[:seen]), np.isfinite(without.upper))


FEATURE = np.array([[1.0], [2.0], [6.0], [0.0], [4.0], [5.0], [3.0], [3.5], [7.0]], np.float32)
LABEL = np.repeat(np.arange(3), 3)


@jax.jit
def in_the_batch(feature, label, counts):
    spreads = of_batch(made(feature, label, counts))
    return spreads, homogeneity(spreads, 0.05)


def in_numpy(*args):
    return jax.tree.map(np.asarray, in_the_batch(*args))


def test_spreads_of_a_batch_by_hand():
    found, _ = in_numpy(FEATURE, LABEL, np.array([60.0, 20.0, 10.0, 0.0]))
    lengthen = np.sqrt(1.5)  # m / (m - 1), m = 3
    np.testing.assert_allclose(found.mean[:, 0], [3.0, 3.0, 4.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(found.deviation, lengthen * np.array([2, 1, 3, 3, 1, 2, 1.5, 1, 2.5]), rtol=1e-6)
    spread = lengthen * np.array([2.0, 2.0, 5 / 3, 0.0])
    np.testing.assert_allclose(found.spread, spread, rtol=1e-6)
    np.testing.assert_allclose(found.center, (6 * spread[0] + 2 * spread[1] + spread[2]) / 9, rtol=1e-6)
    np.testing.assert_allclose(found.within, 1.5 * (2 + 2 + 7 / 6) / 6, rtol=1e-6)
    np.testing.assert_allclose(found.size, [6.0, 2.0, 1.0, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(found.tested, [True, True, True, False])
    np.testing.assert_allclose([found.freedom, found.unit], [6.0, 10.0], rtol=1e-6)


def test_equal_classes_are_in_levenes_test():
    feature = (
        np.random.default_rng(0).normal(size=(40, 1)).astype(np.float32) * np.repeat([1.0, 1, 2, 1.5], 10)[:, None]
    )
    spreads, found = in_numpy(feature, np.repeat(np.arange(4), 10), np.full(4, 500.0))
    statistic = np.sum(found.between) / 3 / (spreads.within / spreads.center**2)
    expected = scipy.stats.levene(*feature.reshape(4, 10), center="mean").statistic
    np.testing.assert_allclose(statistic, expected, rtol=1e-5)


def test_the_bounds_are_where_the_test_turns():
    counts = np.array([60.0, 20.0, 10.0])
    spreads, found = in_numpy(FEATURE, LABEL, counts)
    for bound in (found.lower, found.upper):
        size = bound / spreads.unit
        ratio = spreads.size * spreads.spread / spreads.center / size
        np.testing.assert_allclose(size * (ratio - 1) ** 2, found.slack, rtol=1e-4)
    assert np.all((found.lower < counts) & (counts < found.upper))


def test_classes_that_cannot_be_tested_have_no_bounds():
    label = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    _, found = in_the_batch(FEATURE, label, np.array([60.0, 20.0, 10.0, 5.0]))
    np.testing.assert_array_equal(np.isfinite(found.upper), [True, True, False, False])
    np.testing.assert_array_equal(found.lower[2:], [0.0, 0.0])


def test_distance_by_hand():
    bounds = np.array([100.0, 50.0, 20.5, 0.0], np.float32), np.array([200.0, 70.0, 30.0, np.inf], np.float32)
    found, counts = Homogeneity(*[np.zeros(4, np.float32)] * 3, *bounds), np.array([98.0, 90.0, 20.0, 5.0], np.float32)
    distance = jax.jit(distance_to_bounds)
    np.testing.assert_allclose(distance(counts, found, 1.0), [2.0, 20.0, 1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(distance(counts, found, 0.0), [2.0, 20.0, 0.5, 1.0], rtol=1e-6)


def test_a_class_outside_its_bounds_weighs_less():
    counts, log_beta, weights = np.array([5000.0, 1000.0, 500.0]), np.log(0.999), jax.jit(effective_weights)
    inside, outside = (np.array(weights(counts, log_beta / np.array([d, 1.0, 1.0]))) for d in (1.0, 800.0))
    assert outside[0] / outside[1] < 0.5 * inside[0] / inside[1]


@jax.jit
def failures(spread_of_class):
    """Share of 200 batches of Gaussian features, 128 examples of 10 classes at gamma 10, whose test fails."""
    counts = jnp.round(5000 * 10 ** (-jnp.arange(10) / 9))

    def failed(key):
        label = jax.random.choice(key, 10, (128,), p=counts / jnp.sum(counts))
        feature = spread_of_class[label].reshape(-1, 1) * jax.random.normal(key, (128, 8))
        _, found = in_the_batch(feature, label, counts)
        return jnp.any(found.slack < found.between)

    return jnp.mean(jax.vmap(failed)(jax.random.split(jax.random.key(0), 200)))


def test_equal_spreads_mostly_pass_and_unequal_ones_mostly_fail():
    assert failures(np.ones(10, np.float32)) < 0.2
    assert failures(np.append(np.ones(9), 2.0).astype(np.float32)) > 0.5  # the rarest class
    assert failures(np.append(2.0, np.ones(9)).astype(np.float32)) > 0.95  # the largest


def test_binary_cross_entropy_by_hand():
    logits, label = np.log([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]), np.array([0, 1])
    expected = -np.array([np.log(0.7 * 0.8 * 0.9), np.log(0.75 * 0.25 * 0.5)]) / 3
    np.testing.assert_allclose(jax.jit(binary_cross_entropy)(logits, label), expected, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 1000])
def test_binary_cross_entropy_ends_at_the_floor(classes):
    logits = np.repeat([[1e4, 0.0]], [1, classes - 1], axis=1).repeat(2, axis=0).astype(np.float32)

    @jax.jit
    def both(logits):
        value, pull = jax.vjp(lambda z: binary_cross_entropy(z, jnp.array([0, 1])), logits)
        return value, pull(jnp.ones(2))[0]

    value, gradient = both(logits)
    np.testing.assert_allclose(value, [0.0, 200 / classes], rtol=1e-6)
    np.testing.assert_array_equal(gradient, np.zeros((2, classes)))


def compiled(statistics):
    """Value and gradients of the mean loss, compiled once a shape."""
    loss = homovar(statistics=statistics)

    def mean(logits, feature, label, weight, counts):
        return jnp.mean(loss(Examples(logits, feature, label, weight, counts, jnp.zeros(()))))

    return jax.jit(jax.value_and_grad(mean, argnums=(0, 1)))


COMPILED = {name: compiled(name) for name in STATISTICS}


def assert_finite(statistics, logits, feature, label, weight, counts):
    parts = (np.asarray(part, np.float32) for part in (logits, feature))
    rest = (np.asarray(label, np.int32), np.asarray(weight, np.float32), np.asarray(counts, np.float32))
    value, gradients = jax.tree.map(np.asarray, COMPILED[statistics](*parts, *rest))
    assert np.isfinite(value) and value >= 0
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


COUNT = st.one_of(st.sampled_from([0, 1, 2, 3, 10**7]), st.integers(0, 10**7))
FEATURES = {
    "normal": np.random.default_rng(0).normal(size=(9, 3)),
    "equal": np.full((9, 3), 0.7),
    "zero": np.zeros((9, 3)),
    "large": 1e8 * np.random.default_rng(1).normal(size=(9, 3)),
    "small": 1e-25 * np.random.default_rng(2).normal(size=(9, 3)),
}


@pytest.mark.parametrize("statistics", sorted(STATISTICS))
@settings(max_examples=60)
@given(data=st.data())
def test_finite_for_any_counts(statistics, data):
    counts = data.draw(st.lists(COUNT, min_size=4, max_size=4))
    label = data.draw(st.lists(st.integers(0, 3), min_size=9, max_size=9))
    weight = data.draw(st.lists(st.integers(0, 1), min_size=9, max_size=9))
    feature = FEATURES[data.draw(st.sampled_from(sorted(FEATURES)))]
    logits = data.draw(st.sampled_from([0.0, 1.0, 1e4])) * np.random.default_rng(3).normal(size=(9, 4))
    assert_finite(statistics, logits, feature, label, weight, counts)


@pytest.mark.parametrize("statistics", sorted(STATISTICS))
@pytest.mark.parametrize(("classes", "size"), [(2, 6), (1000, 8), (4, 1)])
def test_finite_for_any_shape(statistics, classes, size):
    draw = np.random.default_rng(classes)
    feature, label = np.abs(draw.normal(size=(size, 3))), draw.integers(2, size=size)
    for counts in (np.full(classes, 10**7), np.arange(classes), np.ones(classes)):
        for weight in (np.ones(size), np.zeros(size)):
            assert_finite(statistics, draw.normal(size=(size, classes)), feature, label, weight, counts)


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"alpha": 0.0}, "loss.args.alpha=0.0 is not a number between 0 and 1, both excluded"),
        ({"beta": 1.0}, "loss.args.beta=1.0 is not a number between 0 and 1, both excluded"),
        ({"statistics": "data"}, "loss.args.statistics='data' is unknown; choose from batch, original"),
    ],
)
def test_refusals(args, text):
    assert refused(homovar, **args) == text

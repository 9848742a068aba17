import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.layers.norm import BatchNorm, batch_moments


def images(seed=0, shape=(8, 3, 3, 2)):
    return jnp.asarray(np.random.default_rng(seed).normal(2.0, 3.0, shape), jnp.float32)


def variables(mean, var, scale, bias):
    return {
        "params": {"scale": jnp.array(scale), "bias": jnp.array(bias)},
        "batch_stats": {"mean": jnp.array(mean), "var": jnp.array(var)},
    }


def test_evaluation_by_hand():
    y = BatchNorm(epsilon=0.0).apply(variables([1.0], [4.0], [3.0], [5.0]), jnp.array([[3.0]]), train=False)
    np.testing.assert_allclose(y, [[8.0]])  # (3 - 1) / 2 * 3 + 5


def test_training_by_hand():
    x = jnp.array([[0.0], [2.0], [4.0]])  # biased variance 8/3, unbiased 4
    before = variables([1.0], [1.0], [1.0], [0.0])
    y, after = BatchNorm(epsilon=0.0).apply(before, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y[:, 0], np.array([-2, 0, 2]) / np.sqrt(8 / 3), rtol=1e-6)
    np.testing.assert_allclose(after["batch_stats"]["mean"], [1.1], rtol=1e-6)  # 0.9 + 0.1 * 2
    np.testing.assert_allclose(after["batch_stats"]["var"], [1.3], rtol=1e-6)  # 0.9 + 0.1 * 4


def test_without_scale_and_bias_there_are_no_parameters():
    norm, x = BatchNorm(affine=False), images()
    state = norm.init(jax.random.key(0), x, train=False)
    assert set(state) == {"batch_stats"}
    for train in (False, True):
        ones = variables([0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0])
        y, after = norm.apply(state, x, train, mutable=["batch_stats"])
        expected, expected_after = BatchNorm().apply(ones, x, train, mutable=["batch_stats"])
        np.testing.assert_array_equal(y, expected)
        jax.tree.map(np.testing.assert_array_equal, after, expected_after)


def test_initialization_leaves_the_running_statistics_alone():
    found = BatchNorm(axis_name="devices").init(jax.random.key(0), images(), train=True)
    np.testing.assert_array_equal(found["batch_stats"]["mean"], np.zeros(2))
    np.testing.assert_array_equal(found["batch_stats"]["var"], np.ones(2))


def test_synchronized_statistics_are_those_of_the_whole_batch():
    x, norm = images(), BatchNorm(axis_name="devices")
    state = variables([0.0, 1.0], [1.0, 2.0], [1.5, 0.5], [0.1, 0.2])

    def step(part):
        return norm.apply(state, part, train=True, mutable=["batch_stats"])

    y, after = jax.pmap(step, axis_name="devices")(x.reshape(4, 2, 3, 3, 2))
    whole, expected = BatchNorm().apply(state, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.reshape(x.shape), whole, rtol=1e-4, atol=1e-5)
    for name, value in expected["batch_stats"].items():
        np.testing.assert_allclose(after["batch_stats"][name][3], value, rtol=1e-5)


def test_moments_are_numpys():
    x = images()
    mean, variance, count = batch_moments(x)
    np.testing.assert_allclose(mean, np.mean(x, (0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, np.var(x, (0, 1, 2)), rtol=1e-5)
    assert count == 72

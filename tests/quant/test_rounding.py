import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.quant.rounding import clamp, straight_through


def test_clamp_by_hand():
    x = jnp.array([-2.0, -1.0, 0.5, 1.0, 1.5])
    y, pullback = jax.vjp(lambda a: clamp(a, -1.0, 1.0), x)
    np.testing.assert_array_equal(y, [-1, -1, 0.5, 1, 1])
    np.testing.assert_array_equal(pullback(jnp.full(5, 3.0))[0], [0, 3, 3, 3, 0])


def test_straight_through_gives_the_value_of_one_and_the_gradient_of_the_other():
    y, pullback = jax.vjp(lambda a: straight_through(jnp.round(a), a**2), jnp.array([1.4, -3.0]))
    np.testing.assert_array_equal(y, [1, -3])
    np.testing.assert_allclose(pullback(jnp.ones(2))[0], [2.8, -6.0], rtol=1e-6)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.quant.estimators import ESTIMATORS, rounding
from tests.refusals import refused


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_without_a_key_ties_round_to_even(name):
    found = rounding(name)(jnp.array([-1.5, -0.5, 0.5, 1.5, 2.4]), None)
    np.testing.assert_array_equal(found, [-2, 0, 0, 2, 2])


@pytest.mark.parametrize(("name", "expected"), [("ewgs", 1 + 0.2 * 0.4), ("stacked_sigmoid", 1.0182), ("ste", 1.0)])
def test_gradient_by_hand(name, expected):
    # At 1.4: error 0.4; sigmoid(-0.1) sigmoid(0.1) / (2 sigmoid(0.5) - 1) = 0.475021 * 0.524979 / 0.244919 = 1.0182.
    np.testing.assert_allclose(jax.grad(lambda v: rounding(name)(v, None))(1.4), expected, rtol=1e-4)


def test_ewgs_pushes_away_from_the_integer_less_than_toward_it():
    gradient = jax.vjp(lambda v: rounding("ewgs", 0.5)(v, None), jnp.full(2, 1.4))[1](jnp.array([1.0, -1.0]))[0]
    np.testing.assert_allclose(gradient, [1.2, -0.8], rtol=1e-6)  # descent moves v down by more than up


def test_stochastic_rounding_is_right_in_the_mean_and_repeats_with_its_key():
    v, key = jnp.full(20_000, 2.3), jax.random.key(0)
    found = rounding("stochastic")(v, key)
    np.testing.assert_array_equal(np.unique(found), [2, 3])
    assert abs(found.mean() - 2.3) < 4 * np.sqrt(0.3 * 0.7 / v.size)
    np.testing.assert_array_equal(found, rounding("stochastic")(v, key))
    assert np.any(found != rounding("stochastic")(v, jax.random.key(1)))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("sign",), "estimator='sign' is unknown; choose from ewgs, stacked_sigmoid, ste, stochastic"),
        (
            ("ewgs", -0.1),
            "estimator_arg=-0.1 does not fit estimator='ewgs'; choose a positive number, or 0 for its own",
        ),
        (("ste", 0.2), "estimator_arg=0.2 does not fit estimator='ste'; choose 0"),
    ],
)
def test_refusals(args, message):
    assert refused(rounding, *args) == message

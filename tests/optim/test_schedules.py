"""Learning rates by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.optim.schedules import SCHEDULES, annealed, constant, cosine, linear, step
from tests import vectors
from tests.refusals import refused


def rates(schedule, *progress):
    return [float(schedule(jnp.float32(share))) for share in progress]


def test_constant():
    assert rates(constant(0.5), 0.0, 0.9, 1.0) == [0.5, 0.5, 0.5]


def test_step_falls_exactly_at_the_milestones():
    actual = rates(step(0.01, milestones=(0.25, 0.5)), 0.0, 0.24, 0.25, 0.49, 0.5, 0.99)
    np.testing.assert_allclose(actual, [0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4], rtol=1e-5)


def test_step_defaults_to_epochs_10_and_20_of_30():
    actual = rates(step(1.0), 9.9 / 30, 10.1 / 30, 19.9 / 30, 20.1 / 30)
    np.testing.assert_allclose(actual, [1.0, 0.1, 0.1, 0.01], rtol=1e-5)


def test_step_takes_its_own_factor():
    assert rates(step(1.0, milestones=(0.5,), factor=0.25), 0.4, 0.5) == [1.0, 0.25]


@pytest.mark.parametrize("milestone", [0, 1.0, 10, -0.5, float("nan")])
def test_step_refuses_a_milestone_outside_the_training(milestone):
    assert refused(step, 0.1, milestones=(milestone,)) == (
        f"optimizer.milestones={milestone!r} is not a share of the task between 0 and 1"
    )


def test_cosine_starts_halves_and_ends():
    np.testing.assert_allclose(rates(cosine(0.2), 0.0, 0.5, 1.0), [0.2, 0.1, 0.0], atol=1e-7)


def test_linear_falls_evenly_to_nothing():
    np.testing.assert_allclose(rates(linear(0.2), 0.0, 0.25, 0.5, 1.0), [0.2, 0.15, 0.1, 0.0], atol=1e-7)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_starts_at_its_rate_and_never_rises(name):
    schedule = jax.jit(SCHEDULES[name](0.3, (0.5,), 0.1))
    actual = np.array(rates(schedule, *(i / 20 for i in range(20))))
    np.testing.assert_allclose(actual[0], 0.3, rtol=1e-6)
    assert np.all(np.diff(actual) <= 1e-7)
    assert np.all(actual > 0)


def test_annealed_by_hand():
    # stays until 0.2; a half of the way down at the middle of what is left
    np.testing.assert_allclose(rates(annealed(3.0, 1.0, 0.2), 0.0, 0.2, 0.6, 1.0), [3.0, 3.0, 2.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("case", [case for (case,) in vectors.keys("osc_dampening", "(.+)_v")])
def test_annealed_is_the_originals(case):
    arrays, args = vectors.arrays("osc_dampening"), vectors.cases("osc_dampening")[case]
    first, last = args["start"], args["end"]
    # float32: the cosine near its flat start is exact to 1e-7 of the whole swing only
    progress = jnp.asarray(arrays[f"{case}_t"] / args["t_max"], jnp.float32)
    actual = jax.vmap(annealed(first, last, args["rel_decay_start"]))(progress)
    np.testing.assert_allclose(actual, arrays[f"{case}_v"], rtol=1e-5, atol=3e-7 * max(first, last))

"""The quadratic by hand, and several of them in one Anchor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.methods.penalty import (
    Anchor,
    add_quadratic,
    bounded,
    check_positive,
    check_share,
    check_strength,
    copy,
    move_anchor,
    no_anchor,
    quadratic,
    replace_anchor,
    weighted_distance,
)

F1, A1 = {"w": jnp.array([3.0, 0.5])}, {"w": jnp.array([1.0, 2.0])}
F2, A2 = {"w": jnp.array([1.0, 0.0])}, {"w": jnp.array([5.0, 7.0])}
POINTS = [{"w": jnp.array(p)} for p in ([2.0, 4.0], [0.0, 0.0], [-3.0, 11.0])]


def test_by_hand():
    # 3 (2-1)^2 + 0.5 (4-2)^2 = 5
    assert float(weighted_distance(F1, A1, POINTS[0])) == 5.0
    assert float(quadratic(Anchor(F1, A1, jnp.array(2.0)), POINTS[0])) == 7.0


def test_no_anchor_costs_nothing_anywhere():
    for point in POINTS:
        value, gradient = jax.value_and_grad(lambda p: quadratic(no_anchor(A1), p))(point)
        assert float(value) == 0.0
        np.testing.assert_array_equal(gradient["w"], [0.0, 0.0])


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.0])
def test_added_quadratics_are_their_sum(decay):
    first = add_quadratic(no_anchor(A1), F1, A1, decay)
    both = add_quadratic(first, F2, A2, decay)
    for point in POINTS:
        expected = decay * weighted_distance(F1, A1, point) + weighted_distance(F2, A2, point)
        np.testing.assert_allclose(quadratic(both, point), expected, rtol=1e-6)


def test_added_quadratics_by_hand():
    # 3 (p-1)^2 + (p-5)^2 = 4 (p-2)^2 + 12
    both = add_quadratic(add_quadratic(no_anchor(A1), F1, A1, 1.0), F2, A2, 1.0)
    np.testing.assert_allclose(both.importance["w"], [4.0, 0.5])
    np.testing.assert_allclose(both.params["w"], [2.0, 2.0])
    np.testing.assert_allclose(both.constant, 12.0)


def test_what_only_one_quadratic_holds_is_anchored_at_its_very_point():
    """Else the rounding pulls, and Adam makes a step of the smallest pull."""
    random = np.random.default_rng(0)
    a, b = ({"w": jnp.asarray(random.normal(size=1000), jnp.float32)} for _ in range(2))
    ones, none = {"w": jnp.ones(1000)}, {"w": jnp.zeros(1000)}
    newest = add_quadratic(add_quadratic(no_anchor(a), none, a, 1.0), ones, b, 1.0)
    np.testing.assert_array_equal(newest.params["w"], b["w"])
    oldest = add_quadratic(add_quadratic(no_anchor(a), ones, a, 1.0), none, b, 1.0)
    np.testing.assert_array_equal(oldest.params["w"], a["w"])


def test_five_tasks_stay_their_sum():
    keys = jax.random.split(jax.random.key(0), 5)
    tasks = [({"w": jax.random.uniform(k, (9,))}, {"w": jax.random.normal(k, (9,))}) for k in keys]
    anchor = no_anchor({"w": jnp.zeros(9)})
    for importance, params in tasks:
        anchor = add_quadratic(anchor, importance, params, 1.0)
    point = {"w": jnp.full(9, 0.7)}
    expected = sum(float(weighted_distance(f, a, point)) for f, a in tasks)
    np.testing.assert_allclose(quadratic(anchor, point), expected, rtol=1e-5)


def test_move_and_replace():
    first = replace_anchor(no_anchor(A1), F1, A1, 1.0)
    moved = move_anchor(first, F2, A2, 0.5)
    np.testing.assert_allclose(moved.importance["w"], [2.5, 0.25])
    np.testing.assert_array_equal(moved.params["w"], A2["w"])
    replaced = replace_anchor(first, F2, A2, 0.5)
    np.testing.assert_array_equal(replaced.importance["w"], F2["w"])
    np.testing.assert_array_equal(replaced.params["w"], A2["w"])


def test_copy_shares_no_buffer():
    assert copy(A1)["w"].unsafe_buffer_pointer() != A1["w"].unsafe_buffer_pointer()


@pytest.mark.parametrize(
    ("check", "good", "bad", "line"),
    [
        (check_strength, [0.0, 1e9], [-1e-9, float("inf"), float("nan")], "is not a finite number from 0 on"),
        (
            check_positive,
            [1e-9, 3.0],
            [0.0, -1.0, float("inf"), float("nan")],
            "is not a finite number above 0",
        ),
        (check_share, [0.0, 0.5, 1.0], [-0.1, 1.1, float("nan")], "is not a number from 0 to 1"),
    ],
)
def test_checks(check, good, bad, line):
    assert [check(value, "key") for value in good] == good
    for value in bad:
        with pytest.raises(Refusal) as refused:
            check(value, "key")
        assert str(refused.value) == f"key={value!r} {line}"


def test_bounded_by_hand_and_at_its_ends():
    # 10 / (1 + 10 / 10) = 5; 0.01 / (1 + 0.001) is about 0.01; the limit itself is never passed
    stiffness = {"w": jnp.array([10.0, 0.01, 1e9])}
    np.testing.assert_allclose(bounded(stiffness, 10.0)["w"], [5.0, 0.01 / 1.001, 10.0], rtol=1e-6)
    np.testing.assert_array_equal(bounded(stiffness, float("inf"))["w"], stiffness["w"])

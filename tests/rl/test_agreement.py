"""BLIP rounds an agent's weights without changing how it plays."""

import dataclasses

from lifeq_jax.core.config import Part
from tests.rl.agreement import agreements
from tests.rl.test_run import RECIPE


def test_rounded_weights_choose_the_same_actions_state_by_state():
    games = dataclasses.replace(RECIPE.games, names=("catch/catch",), updates=40, num_envs=16, rollout_steps=16)
    method = Part("blip", {"prior": 1e-9, "head": False, "zero_bits": "keep"})
    (found,) = agreements(dataclasses.replace(RECIPE, games=games, method=method))
    assert found.states == 4 * 16 * 16
    assert found.changed > 0.3 and found.largest > 1e-4  # the rounding is there
    assert found.same > 0.98


def test_without_rounding_nothing_changes():
    method = Part("blip", {"prior": 1e-9, "head": False, "rounding": False})
    found = agreements(dataclasses.replace(RECIPE, method=method))
    assert [(one.same, one.changed, one.largest) for one in found] == [(1.0, 0.0, 0.0)] * 2

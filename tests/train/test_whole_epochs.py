"""Whole epochs on the device: many steps in one call give what single steps give."""

import jax
import numpy as np
import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.data.order import train_plan
from lifeq_jax.train import loop, stage
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent, stopping, world_of
from tests.train.killed_runs import checkpointed, metrics

LENGTH = 7  # epochs of the tiny recipe are no multiple of it


@pytest.fixture
def small(recipe, changed, digits):
    whole = {"csv": str(digits / "tasks")}
    return changed(recipe, whole, model=Part("mlp", {"hidden": 16}), method=Part("rwalk"), oscillation=Part("track"))


@pytest.fixture
def in_pieces(monkeypatch):
    """What an accelerator does, with short pieces."""
    monkeypatch.setattr(loop, "piece_length", lambda: LENGTH)


def test_pieces_are_the_steps_in_their_order(small, in_pieces):
    world = world_of(small)
    rows = world.tasks[1].train
    plan = train_plan(len(rows.index), 32, world.spec, seed=0, stage=0, task=1, epoch=0)
    found = list(loop.pieces(world.input, rows, plan))
    assert [count for _, count in found] == [LENGTH] * (len(plan.row) // LENGTH) + [len(plan.row) % LENGTH]
    assert found[-1][1] > 0
    assert {len(leaf) for feeds, _ in found for leaf in feeds} == {LENGTH}
    steps = [jax.tree.map(lambda part, i=i: part[i], feeds) for feeds, count in found for i in range(count)]
    for ours, wanted in zip(steps, world.input.feeds(rows, plan, 0), strict=True):
        assert all((a == b).all() for a, b in zip(ours, wanted, strict=True))


def test_a_run_in_pieces_equals_a_run_step_by_step(small, in_pieces, monkeypatch, tmp_path):
    traces = []

    def counting(*args):
        step = make_step(*args)
        return lambda *parts: traces.append(None) or step(*parts)

    make_step = stage.make_step
    monkeypatch.setattr(stage, "make_step", counting)
    run_recipe(small, tmp_path / "pieces", silent)
    assert len(traces) == 2  # one a stage
    monkeypatch.setattr(loop, "piece_length", lambda: 1)
    run_recipe(small, tmp_path / "steps", silent)
    for ours, wanted in zip(metrics(tmp_path / "pieces"), metrics(tmp_path / "steps"), strict=True):
        assert ours["step"] == wanted["step"]
        np.testing.assert_allclose(float(ours["loss"]), float(wanted["loss"]), rtol=1e-4)
    ours, wanted = (checkpointed(tmp_path / name, "float") for name in ("pieces", "steps"))
    for name, leaf in wanted.items():
        np.testing.assert_allclose(ours[name], leaf, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.exact
def test_a_run_in_pieces_resumes_bit_for_bit(small, in_pieces, tmp_path):
    run_recipe(small, tmp_path / "unbroken", silent)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(small, tmp_path / "broken", silent, watch=stopping("epoch", 4))
    run_recipe(small, tmp_path / "broken", silent)
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "unbroken")
    ours, wanted = (checkpointed(tmp_path / name, "w4a4") for name in ("broken", "unbroken"))
    for name, leaf in wanted.items():
        np.testing.assert_array_equal(ours[name], leaf, err_msg=name)

"""Numbers that are not finite: the run ends, says where, and no checkpoint ever holds one."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.cli import main
from lifeq_jax.core.config import Optimizer, Part, Stage
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import Method
from lifeq_jax.train import drive, run
from lifeq_jax.train.checkpoint import Checkpoints
from lifeq_jax.train.drive import run_seeds
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent
from tests.train.killed_runs import checkpointed, latest_weights, metrics


@pytest.fixture(autouse=True)
def nans_are_let_through():
    with jax.debug_nans(False):
        yield


def exploding(method: Method, task: int, step: int) -> Method:
    """The method, whose penalty has an infinite gradient in one step of one task, though the loss before the update is
    finite. It counts tasks and steps in a state of its own."""

    def init(start):
        return method.init(start), tuple(jnp.zeros((), jnp.int32) for _ in range(2))

    def penalty(state, params, weights):
        own, (tasks, steps) = state
        here = (tasks == task) & (steps == step)
        total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))
        flat = total - jax.lax.stop_gradient(total)  # its value is 0, its slope 1
        root = jnp.sqrt(jnp.where(here, flat, 1.0))  # at 0 its slope is infinite
        return method.penalty(own, params, weights) + jnp.where(here, root, 0.0)

    def end_task(state, end):
        own, (tasks, _) = state
        return method.end_task(own, end), (tasks + 1, jnp.zeros((), jnp.int32))

    def observe(state, info):
        own, (tasks, steps) = state
        return method.observe(own, info), (tasks, steps + 1)

    def with_own(link):
        def update(updates, state, params=None, *, method_state, **extra):
            return link.update(updates, state, params, method_state=method_state[0], **extra)

        return link._replace(update=update)

    return method._replace(
        init=init,
        penalty=penalty,
        example_loss=lambda state, *rest: method.example_loss(state[0], *rest),
        observe=observe,
        end_task=end_task,
        settle=lambda state, params: method.settle(state[0], params),
        measure=lambda state, params: method.measure(state[0], params),
        concludes=True,
        gradients=with_own(method.gradients),
        constraint=with_own(method.constraint),
    )


@pytest.fixture(scope="module")
def small(recipe, changed):
    """Two tasks of two epochs each."""
    return changed(
        recipe,
        stages=(Stage("float", 32, 32, 2, 0.01, tasks=2),),
        model=Part("mlp", {"hidden": 8}),
        optimizer=Optimizer(schedule="constant"),
        loss=Part("cross_entropy"),
    )


def steps_of(recipe, folder):
    """Steps of an epoch of each task, from a whole run."""
    run_recipe(recipe, folder, silent)
    rows = np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    return [int(row["step"]) for row in rows if row["epoch"] == 1]


@pytest.fixture(scope="module")
def steps(small, tmp_path_factory):
    return steps_of(dataclasses.replace(small, method=Part("finetune")), tmp_path_factory.mktemp("steps") / "run")


def assert_all_finite(folder):
    """The newest checkpoint of the stage holds no infinity and no NaN."""
    for name, leaf in checkpointed(folder, "float").items():
        assert np.isfinite(leaf).all(), name


MILD = {"ewc": {"strength": 0.1}}  # at its default it diverges here by itself
# of an epoch, of a task, of the run: (task, epoch of it) in whose last step the update overflows, epochs kept by then
LAST_STEPS = ((0, 0, 0), (0, 1, 1), (1, 1, 3))
NEVER = (-1, 0)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_an_update_that_overflows_in_a_last_step_is_never_saved(small, steps, tmp_path, monkeypatch, name):
    folder, method = tmp_path / "run", METHODS[name](**MILD.get(name, {}))
    recipe = dataclasses.replace(small, method=Part("exploding"))
    for task, epoch, saved in LAST_STEPS:  # each goes on from what the one before has kept
        last = (epoch + 1) * steps[task] - 1
        monkeypatch.setitem(METHODS, "exploding", partial(exploding, method, task, last))
        place = f"task {task + 1} epoch {epoch + 1}"
        text = f"stage float: the loss or the update is not finite at step {last} of {place} of seed 0; "
        if name == "blip":  # which clips the infinite update into its cells; the momentum is infinite all the same
            text = rf"stage float: opt_state/.* of the state after {place} of seed 0 is not finite; "
        kept = "its last good checkpoint is kept" if saved else "it has written no checkpoint yet"
        with pytest.raises(Diverged, match=text + kept) as caught:
            run_recipe(recipe, folder, silent)
        assert json.loads((folder / "diverged.json").read_text()) == {"reason": str(caught.value)}
        assert not (folder / "summary.json").exists()
        if saved:
            assert_all_finite(folder)
    monkeypatch.setitem(METHODS, "exploding", partial(exploding, method, *NEVER))
    assert run_recipe(recipe, folder, silent)["finished"]
    assert len(metrics(folder)) == 4  # none was trained twice
    assert_all_finite(folder)
    assert not (folder / "diverged.json").exists()


@pytest.mark.parametrize("where", ["end_task", "settle"])
@pytest.mark.parametrize("task", [0, 1])
def test_what_a_method_makes_of_a_task_is_looked_at_before_it_is_saved(small, tmp_path, monkeypatch, where, task):
    def end_task(state, end):
        return jnp.where(end.task == task, jnp.inf, 0.0) if where == "end_task" else jnp.float32(end.task)

    def settle(state, params):
        bad = where == "settle"
        return jax.tree.map(lambda leaf: jnp.where(bad & (state == task), jnp.nan, leaf), params)

    method = Method(init=lambda params: jnp.zeros(()), end_task=end_task, settle=settle, concludes=True)
    monkeypatch.setitem(METHODS, "broken", lambda: method)
    recipe = dataclasses.replace(small, method=Part("broken"))
    leaf = "method_state/0" if where == "end_task" else "params/.*"
    text = (
        f"stage float: {leaf} of what broken makes of the state at the end of task {task + 1} is not finite; its last"
    )
    with pytest.raises(Diverged, match=text):
        run_recipe(recipe, tmp_path / "run", silent)
    assert_all_finite(tmp_path / "run")
    checkpoints = Checkpoints(tmp_path / "run/checkpoints/float")
    assert (checkpoints.progress().task, checkpoints.progress().epoch) == (task, 1)
    checkpoints.close()


@pytest.mark.parametrize("abreast", [True, False])
def test_a_seed_that_diverges_stops_alone(small, tmp_path, monkeypatch, capsys, abreast):
    monkeypatch.setattr(drive, "vmap_is_faster", lambda: abreast)
    given = run.start_weights

    def poisoned(recipe, fresh, log):
        params, batch_stats = given(recipe, fresh, log)
        scale = 1e20 if recipe.seed == 1 else 1.0  # its loss overflows in the first step
        return jax.tree.map(lambda leaf: scale * leaf, params), batch_stats

    monkeypatch.setattr(run, "start_weights", poisoned)
    recipe = dataclasses.replace(small, method=Part("finetune"))
    said = []
    content = run_seeds(recipe, (0, 1, 2), tmp_path, said.append)
    assert content == json.loads((tmp_path / "seeds.json").read_text())
    assert content["seeds"] == [0, 2]
    reason = (
        "stage float: the loss or the update is not finite at step 0 of task 1 epoch 1 of seed 1; it has written no"
    )
    assert content["unfinished"]["1"].startswith(f"diverged: {reason}")
    assert [line for line in said if reason in line] == [line for line in said if line.startswith("seed 1")]
    again = []
    assert run_seeds(recipe, (0, 1, 2), tmp_path, again.append) == content
    assert sum("epoch" in line and not line.startswith("seed 1") for line in again) == 0
    assert sum("is finished already" in line for line in again) == 2


def test_a_seed_that_diverges_makes_the_exit_code_1(tmp_path, monkeypatch, capsys):
    content = {
        "name": "r",
        "seeds": [0],
        "metrics": {"bwt": {"mean": 0.5, "std": None}},
        "unfinished": {"1": "diverged: x"},
    }
    monkeypatch.setattr(drive, "run_seeds", lambda *args: content)
    assert main(["train", "lifequant/resnet20_digits", "--seeds", "0,1", "--run", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "seed 1 diverged: x" in said.err and said.err.count("\n") == 1
    assert "bwt" in said.out


def test_a_checkpoint_of_the_stage_before_is_kept_when_a_stage_diverges(recipe, changed, tmp_path):
    stages = (Stage("good", 32, 32, 1, 0.1, tasks=1), Stage("bad", 32, 32, 40, 1e6, tasks=1))
    bad = changed(
        recipe,
        stages=stages,
        method=Part("finetune"),
        optimizer=Optimizer(momentum=0.9, weight_decay=0.5, schedule="constant"),
    )
    with pytest.raises(Diverged, match=r"stage bad: the loss or the update is not finite at step \d+ of task 1"):
        run_recipe(bad, tmp_path / "run", silent)
    for leaf in jax.tree.leaves(latest_weights(tmp_path / "run", "good")):
        assert np.isfinite(leaf).all()

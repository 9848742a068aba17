"""Several devices: a run over them equals a run on one, and their processes write and resume one run."""

import itertools
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from lifeq_jax.core.config import Part, Stage, to_json
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.order import test_plan as plan_of_test
from lifeq_jax.methods import METHODS
from lifeq_jax.train import mesh
from lifeq_jax.train.build import complete
from lifeq_jax.train.loop import pieces
from lifeq_jax.train.mesh import devices_for, join_processes
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import world_of
from tests.train.killed_runs import checkpointed, metrics


def silent(line: str) -> None:
    """A log that nobody reads."""


@pytest.fixture(scope="module")
def short(recipe, changed):
    """One epoch of each of two tasks, in floating point, where no rounding magnifies a last digit.

    Batches of 28 leave the last one of every test set uneven."""
    stages = (Stage("float", 32, 32, 1, 0.05, tasks=2),)
    return changed(recipe, {"batch_size": 28}, stages=stages, model=Part("resnet8", {"width": 2}))


@pytest.fixture(scope="module")
def alone(short, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "alone"
    run_recipe(short, folder, silent)
    return folder


@pytest.mark.parametrize("parallel", ["pmap", "mesh"])
def test_a_run_on_four_devices_equals_one_on_one(short, alone, changed, tmp_path, parallel):
    run_recipe(changed(short, parallel=parallel), tmp_path / "run", silent)
    for ours, wanted in zip(metrics(tmp_path / "run"), metrics(alone), strict=True):
        assert ours["step"] == wanted["step"]
        assert float(ours["loss"]) == pytest.approx(float(wanted["loss"]), rel=1e-3)
        for task in range(3):
            assert float(ours[f"accuracy_{task}"]) == pytest.approx(float(wanted[f"accuracy_{task}"]), abs=0.02)
    ours, wanted = (checkpointed(folder, "float") for folder in (tmp_path / "run", alone))
    assert ours.keys() == wanted.keys()
    for name, leaf in wanted.items():
        if name.startswith("network"):
            np.testing.assert_allclose(ours[name], leaf, rtol=1e-3, atol=1e-4, err_msg=name)


def test_every_image_counts_once_over_devices(short, changed):
    recipe = complete(changed(short, parallel="mesh"))
    world = world_of(recipe)
    rows = world.tasks[0].score
    assert len(rows.index) % 28
    plan = world.devices.part(plan_of_test(len(rows.index), 28, world.spec))
    feeds = [world.devices.split(feeds) for feeds, _ in pieces(world.input, rows, plan)]
    assert {len(feed.label.sharding.device_set) for feed in feeds} == {4}
    assert sum(float(feed.weight.sum()) for feed in feeds) == len(rows.index)


def test_each_process_reads_its_part_of_every_batch(short, monkeypatch):
    world = world_of(short)
    plan = plan_of_test(len(world.tasks[0].score.index), 28, world.spec)
    monkeypatch.setattr(mesh.jax, "process_count", lambda: 2)
    parts = []
    for number in range(2):
        monkeypatch.setattr(mesh.jax, "process_index", lambda number=number: number)
        parts.append(world.devices.part(plan))
    assert {part.row.shape[1] for part in parts} == {14}
    for whole, first, second in zip(plan, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)


def test_without_synchronization_devices_normalize_by_their_own_part(short, alone, changed, tmp_path):
    run_recipe(changed(short, parallel="mesh", sync_norm=False), tmp_path / "run", silent)
    ours, wanted = metrics(tmp_path / "run"), metrics(alone)
    assert abs(float(ours[0]["loss"]) / float(wanted[0]["loss"]) - 1) > 1e-3
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["finished"]


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(Refusal, match="data.batch_size=30 does not divide among 4 devices; choose a multiple"):
        devices_for("pmap", 30)


def test_several_processes_need_a_mesh(monkeypatch):
    monkeypatch.setattr(mesh.jax, "process_count", lambda: 2)
    with pytest.raises(Refusal, match="recipe.parallel='pmap' drives one process, and there are 2; choose 'mesh'"):
        devices_for("pmap", 32)


@pytest.mark.parametrize(
    "environment, said",
    [
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES='two' is not a number"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "several processes need JAX_COORDINATOR_ADDRESS"),
    ],
)
def test_an_incomplete_environment_is_refused(monkeypatch, environment, said):
    def initialize(**given):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refusal, match=said):
        join_processes()


def test_every_method_on_eight_devices_equals_one():
    done = in_process("many_devices", [], {"XLA_FLAGS": flags(8)})
    lines = [line.split() for line in done.communicate(timeout=600)[0].splitlines()]
    assert done.returncode == 0
    assert {(name, parallel) for name, parallel, _ in lines} == set(itertools.product(METHODS, ("pmap", "mesh")))
    assert [line for line in lines if not float(line[2]) < 1e-3] == []


def test_two_processes_train_one_run_are_killed_and_resume(short, alone, changed, tmp_path):
    config = tmp_path / "recipe.json"
    config.write_text(to_json(complete(changed(short, parallel="mesh", selection="last"))))

    def train(name: str, epochs: int) -> list[str]:
        port = free_port()
        shared = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2", "XLA_FLAGS": flags(2)}
        words = [str(config), str(tmp_path / name), "epoch", str(epochs)]
        both = [in_process("killed", words, {**shared, "JAX_PROCESS_ID": str(number)}) for number in range(2)]
        said = [process.communicate(timeout=600) for process in both]
        assert [process.returncode != 0 for process in both] == [epochs > 0] * 2, said
        return [out for out, _ in said]

    train("run", epochs=2)
    assert len(metrics(tmp_path / "run")) == 2
    assert not (tmp_path / "run" / "summary.json").exists()
    first, second = train("run", epochs=0)
    assert "task 2/2  epoch 1/1" in first
    assert "epoch" not in second
    unbroken, _ = train("unbroken", epochs=0)
    assert "task 1/2  epoch 1/1" in unbroken
    assert metrics(tmp_path / "run") == metrics(tmp_path / "unbroken")
    ours, whole, single = (checkpointed(f, "float") for f in (tmp_path / "run", tmp_path / "unbroken", alone))
    for name, leaf in whole.items():
        np.testing.assert_array_equal(ours[name], leaf, err_msg=name)
        if name.startswith("network"):
            np.testing.assert_allclose(leaf, single[name], rtol=1e-3, atol=1e-4, err_msg=name)


def flags(devices: int) -> str:
    """The tests' own XLA flags with another number of devices."""
    return re.sub(r"(device_count=)\d+", rf"\g<1>{devices}", os.environ["XLA_FLAGS"])


def in_process(module: str, words: list[str], environment: dict[str, str]) -> subprocess.Popen:
    """A module of this folder with some words, started."""
    command = [sys.executable, "-m", f"tests.train.{module}", *words]
    root = Path(__file__).parent.parent.parent
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=root, env=os.environ | environment, **pipes)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]

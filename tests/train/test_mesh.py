"""Several devices: a run over them equals a run on one, and their processes write and resume one run."""

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from lifeq_jax.cli_processes import RESUMES
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
def short(recipe, changed, digits):
    """One epoch of each of two tasks, in floating point, where no rounding magnifies a last digit.

    Batches of 28 leave the last one of every test set uneven."""
    stages = (Stage("float", 32, 32, 1, 0.05, tasks=2),)
    whole = {"csv": str(digits / "tasks"), "batch_size": 28}
    return changed(recipe, whole, stages=stages, model=Part("tests.train.jobs:one_block", {"width": 2}))


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


def test_without_synchronization_devices_normalize_by_their_own_part(short, changed, tmp_path):
    deep = changed(short, model=Part("resnet8", {"width": 2}))  # where more norms follow each other
    run_recipe(deep, tmp_path / "alone", silent)
    run_recipe(changed(deep, parallel="mesh", sync_norm=False), tmp_path / "run", silent)
    ours, wanted = metrics(tmp_path / "run"), metrics(tmp_path / "alone")
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


def test_a_wait_for_other_processes_says_whom_where_and_how_long(monkeypatch):
    said = threading.Event()
    lines = []

    def log(line):
        lines.append(line)
        said.set()

    def initialize(initialization_timeout, **given):
        assert said.wait(60) and initialization_timeout == 300
        raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out.\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(mesh, "SILENT", 0.01)
    slurm = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "node[7-8]"}
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    whom = "process 0 waits for all 2 processes that SLURM names, at node[7-8] (SLURM_STEP_NUM_TASKS=2)"
    with pytest.raises(Refusal) as caught:
        join_processes(log)
    assert lines == [f"{whom}, up to 300 s"]
    assert str(caught.value) == f"{whom}, and not all came: DEADLINE_EXCEEDED: Barrier timed out."


def test_processes_that_meet_at_once_say_nothing(monkeypatch, capsys):
    made = []

    class Timer(threading.Timer):
        def start(self):
            made.append(self)
            super().start()

    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: None)
    monkeypatch.setattr(mesh, "SILENT", 600)
    join_processes()
    (timer,) = made
    timer.join(60)  # it was cancelled, else it would still wait
    assert not timer.is_alive() and capsys.readouterr().out == ""


def test_every_method_on_eight_devices_equals_one():
    done = in_process(["tests.train.many_devices"], {"XLA_FLAGS": flags(8)})
    lines = [line.split() for line in done.communicate(timeout=600)[0].splitlines()]
    assert done.returncode == 0
    assert {(name, parallel) for name, parallel, _ in lines} == set(itertools.product(METHODS, ("pmap", "mesh")))
    assert [line for line in lines if not float(line[2]) < 1e-3] == []


@pytest.fixture(scope="module")
def command(short, changed, tmp_path_factory):
    """command(run folder, number) -> process `number` of two that train a small network, by the command line."""
    folder = tmp_path_factory.mktemp("command")
    stages = (Stage("float", 32, 32, 12, 0.05, tasks=2),)  # longer than a kill takes
    small = changed(short, parallel="mesh", model=Part("mlp", {"hidden": 16}), stages=stages)
    (folder / "config.json").write_text(to_json(small))
    lines = (
        "from pathlib import Path",
        "from lifeq_jax.core.config import read_recipe",
        f"recipe = read_recipe(Path({str(folder / 'config.json')!r}))",
    )
    (folder / "recipe.py").write_text("\n".join(lines))

    def start(run: Path, number: int, port: int, *words: str) -> subprocess.Popen:
        where = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2", "XLA_FLAGS": flags(1)}
        command = ["lifeq_jax", "train", str(folder / "recipe.py"), "--run", str(run), *words]
        return in_process(command, {**where, "JAX_PROCESS_ID": str(number)})

    def both(run: Path, *words: str) -> list[subprocess.Popen]:
        port = free_port()
        return [start(run, number, port, *words) for number in range(2)]

    return both


def test_when_one_of_two_processes_dies_the_other_says_so_and_both_resume(command, tmp_path):
    # epoch 2 is saved when epoch 3 is told; where the second start goes on depends on how fast the first one was
    for number, told in ((1, "epoch 3/12"), (0, "epoch ")):
        processes = command(tmp_path / "run")
        while f"  {told}" not in (line := processes[0].stdout.readline()):
            assert line, processes[0].communicate()
        processes[number].kill()
        killed_at = time.monotonic()
        other = processes[1 - number]
        _, error = other.communicate(timeout=60)
        assert time.monotonic() - killed_at < 15
        assert other.returncode == 1
        assert error == f"lifeq-jax: process {number} has died or was stopped; {RESUMES}\n"
        processes[number].communicate()
    assert not (tmp_path / "run" / "summary.json").exists()

    first, second = (process.communicate(timeout=600) for process in command(tmp_path / "run"))
    assert "task 2/2  epoch 12/12" in first[0] and "task 1/2  epoch 1/12" not in first[0]
    assert "epoch" not in second[0]
    unbroken, _ = (process.communicate(timeout=600) for process in command(tmp_path / "unbroken"))
    assert "task 1/2  epoch 1/12" in unbroken[0]
    assert metrics(tmp_path / "run") == metrics(tmp_path / "unbroken")
    ours, whole = (checkpointed(tmp_path / name, "float") for name in ("run", "unbroken"))
    for name, leaf in whole.items():
        np.testing.assert_array_equal(ours[name], leaf, err_msg=name)

    both = command(tmp_path / "run", "--stages.0.epochs", "13")  # all read the last checkpoint before one writes anew
    told = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert len(metrics(tmp_path / "run")) == 12 + 13 and "13 epochs of task 2 instead of 12" in told[0][0]


def test_two_processes_refuse_in_a_line_each(command, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for process in command(tmp_path):
        _, error = process.communicate(timeout=60)
        assert process.returncode == 2 and error.count("\n") == 1 and "config.json: " in error


def flags(devices: int) -> str:
    """The tests' own XLA flags with another number of devices."""
    return re.sub(r"(device_count=)\d+", rf"\g<1>{devices}", os.environ["XLA_FLAGS"])


def in_process(words: list[str], environment: dict[str, str]) -> subprocess.Popen:
    """A module with some words, started."""
    root = Path(__file__).parent.parent.parent
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", *words], cwd=root, env=os.environ | environment, **pipes)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]

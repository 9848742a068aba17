"""A step that needs more memory than there is: refused before it runs, with a batch that fits."""

import jax
import jax.numpy as jnp
import pytest

from lifeq_jax.core import memory as core_memory
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.folder import status
from lifeq_jax.train import memory
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent


def step(x):
    return (jnp.sort(jnp.sin(x)) @ x.T).sum()


def needed(images):
    x = jax.ShapeDtypeStruct((images, 64), jnp.float32)
    return jax.jit(step).lower(x).compile().memory_analysis().temp_size_in_bytes


def test_a_batch_that_fits_is_named_and_fits(monkeypatch):
    there = needed(256) // 3
    monkeypatch.setattr(memory, "host_bytes", lambda: there)
    with pytest.raises(
        Refusal, match=r"a step of data\.batch_size=256 needs .* --data\.batch-size (64|128) fits"
    ) as stop:
        memory.fitting(jax.jit(step), 256)(jnp.ones((256, 64)))
    named = int(str(stop.value).split()[-2])
    assert needed(named) <= there
    assert memory.fitting(jax.jit(step), named)(jnp.ones((named, 64))) == step(jnp.ones((named, 64)))


def test_not_one_image(monkeypatch):
    monkeypatch.setattr(memory, "host_bytes", lambda: 10)
    with pytest.raises(Refusal, match="not one image fits"):
        memory.fitting(jax.jit(step), 8)(jnp.ones((8, 64)))


def test_a_step_is_compiled_once(caplog):
    checked, x = memory.fitting(jax.jit(lambda x: jnp.cos(x) + 3), 8), jnp.ones(7)
    with jax.log_compiles():
        checked(x), checked(x)
    assert sum("Finished XLA compilation" in record.message for record in caplog.records) == 1


def test_a_run_is_refused_before_its_first_step(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "host_bytes", lambda: 10_000)
    with pytest.raises(Refusal, match=r"data\.batch_size=\d+ needs 0\.0 GB .* fits"):
        run_recipe(recipe, tmp_path, silent)
    assert status(tmp_path) == "unfinished"


def test_a_container_has_less_than_its_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(core_memory, "LIMIT", tmp_path / "memory.max")
    machine = core_memory.host_bytes()
    for text, found in (("max\n", machine), ("4096\n", 4096), (f"{2**60}\n", machine)):
        core_memory.LIMIT.write_text(text)
        assert core_memory.host_bytes() == found

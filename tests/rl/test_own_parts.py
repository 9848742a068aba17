"""Games learned with a network and a method from a user's own file: stopped, resumed, looked at; never with another."""

import dataclasses
from pathlib import Path

import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl.look import read_agent, score_agent
from lifeq_jax.rl.run import run_games
from tests.rl.test_run import RECIPE, quiet, same
from tests.train.jobs import stopping

OWN = """
import jax
import jax.numpy as jnp
from flax import linen as nn

from lifeq_jax.layers.setups import Quantizers
from lifeq_jax.layers.units import Classifier, DenseUnit
from lifeq_jax.methods.base import Method


class Small(nn.Module):
    num_classes: int
    quantizers: Quantizers
    use_norm: bool

    def setup(self):
        self.hidden = DenseUnit(4, self.quantizers, role="first")
        self.norm = nn.BatchNorm()
        self.classifier = Classifier(self.num_classes, self.quantizers)

    def features(self, x, train):
        x = self.hidden(x.reshape(x.shape[0], -1))
        return self.norm(x, use_running_average=not train) if self.use_norm else x

    def head(self, feature):
        return self.classifier(feature)

    def __call__(self, x, train):
        return self.head(self.features(x, train))


def small(num_classes, quantizers, num_values, *, use_norm: bool = False):
    return Small(num_classes, quantizers, use_norm)


def classifier(num_classes, quantizers):
    return Small(num_classes, quantizers, False)


def shrinking(strength: float = 0.5):
    def penalty(state, params, weights):
        return strength * sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(weights))

    return Method(penalty=penalty)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A recipe whose network and method stand in a file of the current folder."""
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return dataclasses.replace(RECIPE, model=Part("mine.py:small"), method=Part("mine.py:shrinking"))


def test_own_parts_play_and_a_run_goes_on_with_the_code_that_it_began_with_alone(own, tmp_path, monkeypatch):
    run_games(own, "whole", quiet)
    with pytest.raises(KeyboardInterrupt):
        run_games(own, "run", quiet, stopping("checkpoint", 1))
    file = tmp_path / "mine.py"
    file.write_text(OWN.replace("return strength *", "return 2 * strength *"))
    with pytest.raises(Refusal, match="run folder run began with other data: mine.py has changed since; put it back"):
        run_games(own, "run", quiet)
    file.write_text(OWN)
    run_games(own, "run", quiet)
    same(Path("run"), Path("whole"))
    file.unlink()  # the run folder holds what it needs
    monkeypatch.chdir(tmp_path.parent)
    agent = read_agent(tmp_path / "run", 0)
    assert agent.notes == () and agent.params["hidden"]["dense"]["kernel"].shape == (15, 4)
    assert len(score_agent(agent, 2).returns) == 2


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Part("mine.py:small", {"use_norm": True}), "recipe.model.name='mine.py:small' has batch norm"),
        (Part("mine.py:classifier"), "'mine.py:classifier' is called with .*num_values.*: got an unexpected keyword"),
    ],
)
def test_own_networks_that_cannot_play_are_refused(own, tmp_path, part, text):
    with pytest.raises(Refusal, match=text):
        run_games(dataclasses.replace(own, model=part), "run", quiet)
    assert not (tmp_path / "run").exists()

"""A network, quantizer, loss and method from a user's own file: trained, stopped, resumed, evaluated, reported."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from lifeq_jax.core.config import Part
from lifeq_jax.core.recipe_file import RECIPES, load_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.write import write_report
from lifeq_jax.runs.read import read_run
from lifeq_jax.train.build import complete
from lifeq_jax.train.evaluate import evaluate_run
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent, stopping
from tests.train.killed_runs import metrics

OWN = Path(__file__).parent / "own_parts.py"


@pytest.fixture
def own(recipe, tmp_path, monkeypatch):
    """A recipe whose parts stand in a file of the current folder."""
    shutil.copy(OWN, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    return dataclasses.replace(
        recipe,
        model=Part("mine.py:small_net", {"width": 16}),
        weight_quantizer=Part("mine.py:coarse"),
        loss=Part("mine.py:smoothed"),
        method=Part("mine.py:heavy_replay", {"weight": 3.0}),
    )


def test_own_parts_are_trained_stopped_resumed_evaluated_and_reported(own, changed, digits, tmp_path, monkeypatch):
    own = changed(own, {"csv": str(digits / "tasks")})
    run_recipe(own, "whole", silent)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(own, "run", silent, stopping("epoch", 5))
    summary = run_recipe(own, "run", silent)
    assert summary["metrics"]["learning_accuracy"] > 0.5
    assert metrics(Path("run")) == metrics(Path("whole"))
    assert complete(own).model.args == {"width": 16} and complete(own).weight_quantizer.args == {"reach": 0.5}
    plain = dataclasses.replace(own, method=Part("finetune"))
    run_recipe(plain, "plain", silent)
    assert metrics(Path("plain"))[-1]["loss"] != metrics(Path("run"))[-1]["loss"]
    (tmp_path / "mine.py").unlink()  # the run folder holds what it needs
    monkeypatch.chdir(tmp_path.parent)
    result = evaluate_run(tmp_path / "run", digits / "tasks_test0.csv")
    assert result.accuracy == read_run(tmp_path / "run").matrix[-1, 0]
    assert "mine.py:small_net" in write_report([read_run(tmp_path / "run")], tmp_path / "report").read_text()


def test_a_run_goes_on_with_the_code_that_it_began_with_alone(own, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_recipe(own, "run", silent, stopping("checkpoint", 1))
    with (tmp_path / "mine.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(Refusal, match=r"run folder run began with other data: mine.py has changed since; put it back"):
        run_recipe(own, "run", silent)


def test_a_file_beside_the_recipe_is_found(tmp_path):
    (tmp_path / "recipes").mkdir()
    shutil.copy(OWN, tmp_path / "recipes" / "mine.py")
    text = (RECIPES / "lifequant/digits.py").read_text()
    start = text.index("model=Part(")
    end = text.index(")", start) + 1
    (tmp_path / "recipes/r.py").write_text(text[:start] + 'model=Part("mine.py:small_net")' + text[end:])
    recipe = load_recipe(tmp_path / "recipes/r.py")
    assert recipe.model.name == f"{tmp_path}/recipes/mine.py:small_net"
    assert complete(recipe).model.args == {"width": 24}


def test_a_part_may_come_from_an_installed_package(recipe):
    assert complete(dataclasses.replace(recipe, loss=Part("tests.train.own_parts:smoothed"))).loss.args == {
        "amount": 0.1
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": Part("nowhere.py:net")}, r"recipe.model.name: nowhere.py does not exist; it is looked for beside"),
        ({"model": Part("mine.py:net")}, r"'mine.py:net': mine.py has no function 'net'; choose from .*small_net"),
        ({"model": Part("no.such.package:net")}, r"recipe.model.name: no.such.package cannot be imported: No module"),
        (
            {"model": Part("mine.py:small_net", {"depth": 2})},
            r"depth=2 is no argument of 'mine.py:small_net'; it takes",
        ),
        (
            {"model": Part("mine.py:smoothed")},
            r"is called with quantizers, num_classes, amount: got an unex",
        ),
        ({"model": Part("mine.py:plain_net")}, r"PlainNet is no network: it lacks features\(image, train\).*, head\("),
        ({"method": Part("mine.py:no_method")}, r"recipe.method.name='mine.py:no_method' returns a int, not a Method"),
        ({"loss": Part("broken.py:loss")}, r"recipe.loss.name: broken.py, line 2: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_wrong_with_a_part_is_said_before_anything_is_written(own, tmp_path, fields, said):
    (tmp_path / "broken.py").write_text("import jax\n1 / 0\n")
    with pytest.raises(Refusal, match=said) as caught:
        run_recipe(dataclasses.replace(own, **fields), "run", silent)
    assert "\n" not in str(caught.value)
    assert not Path("run").exists()


def test_a_network_that_quantizes_nothing_is_refused(own, tmp_path):
    text = OWN.read_text().replace(
        'self.hidden = DenseUnit(self.width, self.quantizers, role="first")', "self.hidden = nn.Dense(self.width)"
    )
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(Refusal, match="stage w4a4 has 4-bit weights, and none of its layers quantizes any"):
        run_recipe(own, "run", silent)
    assert not Path("run").exists()

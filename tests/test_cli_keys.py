"""Values of a recipe's keys, from words on the command line and from Python."""

import math
from typing import Literal

import pytest

from lifeq_jax.cli_keys import override, parsed
from lifeq_jax.core.config import Optimizer, Part, Stage, kind_of, replaced
from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.core.refusal import Refusal

RECIPE = load_recipe("lifequant/resnet20_digits")


def value_of(recipe, key):
    return kind_of(recipe, key)[1]


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("--seed 1", "seed", 1),
        ("--seed=1e3", "seed", 1000),
        ("--optimizer.weight-decay 1e-3", "optimizer.weight_decay", 1e-3),
        ("--optimizer.weight_decay=1", "optimizer.weight_decay", 1.0),
        ("--optimizer.factor .5", "optimizer.factor", 0.5),
        ("--stages.2.learning-rate 1E-2", "stages.2.learning_rate", 0.01),
        ("--stages.-1.epochs 3", "stages.2.epochs", 3),
        ("--data.replay False --importance-data train", "data.replay", False),
        ("--data.flip true", "data.flip", True),
        ("--data.flip", "data.flip", True),
        ("--no-sync-norm", "sync_norm", False),
        ("--data.no-flip", "data.flip", False),
        ("--oscillation.name none", "oscillation.name", "none"),
        ("--parallel none", "parallel", "none"),
        ("--optimizer.milestones 0.2 .4 0.6", "optimizer.milestones", (0.2, 0.4, 0.6)),
        ("--optimizer.milestones=[0.2,0.4]", "optimizer.milestones", (0.2, 0.4)),
        ("--optimizer.milestones (0.5,)", "optimizer.milestones", (0.5,)),
        ("--optimizer.milestones []", "optimizer.milestones", ()),
        ("--data.crop 6,6", "data.crop", (6, 6)),
        ("--data.image.0 9", "data.image", (9, 8, 1)),
        ("--act-quantizer.name lsq --act-quantizer.args.per-channel True", "act_quantizer.args.per_channel", True),
        ("--weight_quantizer.args.levels open", "weight_quantizer.args.levels", "open"),
        ("--method.args.strength 7 --method.name ewc", "method.args.strength", 7.0),
        ("--seed 1 --seed 2", "seed", 2),
        ("--start 12", "start", "12"),
    ],
)  # fmt: skip
def test_words_become_values(words, key, value):
    found = value_of(override(RECIPE, words.split()), key)
    assert found == value and type(found) is type(value) or found == pytest.approx(value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--seed x", "--seed x is not of type int; write --seed 0"),
        ("--seed 1.5", "--seed 1.5 is not of type int; write --seed 0"),
        ("--seed 1e999", "--seed 1e999 is not of type int; write --seed 0"),
        ("--seed 1 2", "--seed 1 2 is not of type int; write --seed 0"),
        ("--seed", "--seed lacks its value, of type int; write --seed 0"),
        (
            "--data.replay maybe",
            "--data.replay maybe is not of type bool; write --data.replay true or --data.replay false",
        ),
        ("--optimizer.factor fast", "--optimizer.factor fast is not of type float; write --optimizer.factor 0.1"),
        ("--data.crop 6", "--data.crop 6 is not of type tuple[int, int]; write --data.crop 8,8"),
        ("--data.crop 6,x", "--data.crop 6,x is not of type tuple[int, int]; write --data.crop 8,8"),
        ("--method ewc", "--method ewc is not of type Part; write --method.KEY VALUE; --help lists the keys"),
        ("--stages 2", "write --stages.0.KEY VALUE; --help lists the keys"),
        ("--selection worst", "recipe.selection='worst' is not of type Literal['last', 'best', 'lowest_loss']"),
        ("--optimizer.lr 1", "recipe.optimizer.lr is an unknown key; choose from epsilon, factor, kind, "),
        ("--stages.3.epochs 1", "recipe.stages.3 is an unknown key; choose a number from 0 to 2"),
        ("--stages.w4a4.epochs 1", "recipe.stages.w4a4 is an unknown key; choose a number from 0 to 2"),
        ("--seed.x 1", "recipe.seed.x is an unknown key: recipe.seed has none of its own"),
        ("--data.no-root", "recipe.data.no_root is an unknown key; choose from batch_size"),
        ("--method.args.prox x", "--method.args.prox x is not of type float; write --method.args.prox 0.0001"),
        ("--method.args.zzz 1", "recipe.method.args.zzz=1 is no argument of 'lifequant'; it takes: "),
        ("--method.name gem", "recipe.method.name='gem' is unknown; choose from agem, blip, "),
        ("1 --seed 2", "'1' stands before any key; keys begin with --, as in --seed 1"),
        ("--stages.0.weight-bits 9", "stage.weight_bits=9 is not a bit-width"),
    ],
)
def test_a_refusal_names_key_type_and_form(words, told):
    with pytest.raises(Refusal) as caught:
        override(RECIPE, words.split())
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_another_row_brings_its_own_arguments():
    changed = override(RECIPE, ["--weight_quantizer.name", "minmax", "--method.name=ewc"])
    assert changed.weight_quantizer == Part("minmax") and "prox" not in changed.method.args


@pytest.mark.parametrize(
    ("word", "kind", "value"),
    [("none", float | None, None), ("2", float | None, 2.0), ("None", str | None, None), ("3", Literal[1, 3], 3)],
)
def test_optional_values_and_choices_of_numbers(word, kind, value):
    assert parsed([word], kind) == value and type(parsed([word], kind)) is type(value)


def test_help_lists_keys_with_type_value_and_text(capsys):
    with pytest.raises(SystemExit) as stop:
        override(RECIPE, ["--help", "--method.name", "ewc", "--seed", "7"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert stop.value.code == 0
    assert "--seed INT Seed of initialization, data order, augmentation and validation split. (default: 7)" in said
    assert "--method.args.strength FLOAT (default: 100.0)" in said and "--data.input {auto,resident,pipeline}" in said


def test_the_same_keys_in_python():
    changes = {
        "stages.-1.weight-bits": 3,
        "data.mean": [0.5],
        "method": Part("ewc"),
        "method.args.strength": 5,
        "seed": 4,
    }
    changed = replaced(RECIPE, changes)
    assert changed.stages[2].weight_bits == 3 and changed.stages[:2] == RECIPE.stages[:2]
    assert changed.data.mean == (0.5,) and changed.seed == 4 and changed.method == Part("ewc", {"strength": 5})
    assert replaced(RECIPE, {}) == RECIPE and math.isclose(RECIPE.data.mean[0], 0.305, abs_tol=0.2)
    stage = Stage("w2", 2, 2, 1, 0.1)
    assert replaced(RECIPE, {"stages": [stage], "optimizer": {"momentum": 0.5}}).stages == (stage,)
    assert replaced(Optimizer(), {"factor": 0.5}).factor == 0.5
    assert replaced(RECIPE, {"method.name": RECIPE.method.name}) == RECIPE


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stages.0.bits": 3}, r"recipe\.stages\.0\.bits is an unknown key; choose from act_bits, epochs"),
        ({"seed": "1"}, r"recipe\.seed='1' is not of type int"),
        ({"method": "ewc"}, r"recipe\.method='ewc' is not an object with keys"),
        ({"data.crop": [8, 8, 8]}, r"data\.crop=\(8, 8, 8\) is not of type tuple\[int, int\]"),
        ({"method.args.a.b": 1}, r"recipe\.method\.args\.a\.b is an unknown key"),
        ({"data.validation": 0.2, "selection": "x"}, r"recipe\.selection='x' is not of type"),
    ],
)
def test_python_is_refused_alike(changes, told):
    with pytest.raises(Refusal, match=told):
        replaced(RECIPE, changes)

"""Every example in a docstring of the package runs, and everything promised has one."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import lifeq_jax
import lifeq_jax as lq
from lifeq_jax.losses.base import Examples

MODULES = [
    importlib.import_module(item.name)
    for item in pkgutil.walk_packages(lifeq_jax.__path__, "lifeq_jax.")
    if not item.name.endswith("__main__")
]
NAMESPACE = {"lq": lq, "np": np, "Part": lq.Part, "Stage": lq.Stage} | {
    "quantizers": lq.setup("convolutions", lq.quantizers.lsq, lq.quantizers.activation, 4, 8),
    "examples": Examples(  # two of two classes, of which the first has three times as many images
        logits=np.log(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)),
        feature=np.zeros((2, 3), np.float32),
        label=np.array([0, 1]),
        weight=np.ones(2, np.float32),
        counts=np.array([30.0, 10.0], np.float32),
        progress=np.float32(0),
    ),
}
COMMON = {"num_classes", "quantizers", "axis_name"}  # of every network: the docstring of lifeq_jax.models


def run(name, thing, recipe, folder):
    globs = NAMESPACE | {"recipe": recipe, "folder": folder}
    said = []
    for test in doctest.DocTestFinder(recurse=False).find(thing, name, globs=globs):
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


def has_example(thing):
    return ">>>" in (getattr(thing, "__doc__", None) or "")


def examples():
    for module in MODULES:
        if ">>>" in (module.__doc__ or ""):
            yield module.__name__, module
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", None) != module.__name__:
                continue
            if has_example(thing):
                yield f"{module.__name__}.{name}", thing
            if inspect.isclass(thing):
                methods = {inner: method for inner, method in vars(thing).items() if has_example(method)}
                yield from ((f"{module.__name__}.{name}.{inner}", method) for inner, method in methods.items())


EXAMPLES = dict(examples())


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_comes_out(name, recipe, folder):
    assert run(name, EXAMPLES[name], recipe, folder) == ""


def test_a_wrong_example_is_seen(recipe, folder):
    def wrong():
        """
        >>> recipe.name
        'another'
        """

    assert "Expected:\n    'another'\nGot:\n    'tiny'" in run("wrong", wrong, recipe, folder)


TABLES = {
    "quantizers": lq.quantizers.QUANTIZERS,
    "methods": lq.methods.METHODS,
    "losses": lq.losses.LOSSES,
    "models": lq.models.MODELS,
    "metrics": lq.metrics.CONTINUAL,
    "optim": lq.optim.SCHEDULES,
}
PROMISED = {name: getattr(lq, name) for name in lq.__all__ if name not in TABLES}
ROWS = {f"{table}.{name}": row for table, rows in TABLES.items() for name, row in rows.items()}


def public_methods(thing):
    return [f for name, f in vars(thing).items() if inspect.isfunction(f) and not name.startswith("_")]


def test_everything_promised_has_an_example():
    functions = {name: thing for name, thing in (PROMISED | ROWS).items() if inspect.isfunction(thing)}
    own = [
        thing for thing in PROMISED.values() if inspect.isclass(thing) and thing.__module__.startswith("lifeq_jax.api")
    ]
    methods = {method.__qualname__: method for thing in own for method in public_methods(thing)}
    assert len(functions) > 60 and len(methods) > 5
    assert [name for name, thing in (functions | methods).items() if not has_example(thing)] == []


@pytest.mark.parametrize("name", ROWS)
def test_a_row_documents_every_argument_that_a_recipe_may_set(name):
    row = ROWS[name]
    bare = [key for key in inspect.signature(row).parameters if key not in row.__doc__ and key not in COMMON]
    assert bare == []

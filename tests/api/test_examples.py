"""Every example in a docstring of the front door runs, and everything public there has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import lifeq_jax as lq
from lifeq_jax import api
from lifeq_jax.core.config import Recipe

MODULES = [importlib.import_module(f"{api.__name__}.{item.name}") for item in pkgutil.iter_modules(api.__path__)]
NAMESPACE = {name: getattr(lq, name) for name in ("Part", "Stage")} | {"lq": lq}


def run(name, thing, recipe, folder):
    globs = NAMESPACE | {"recipe": recipe, "folder": folder}
    said = []
    for test in doctest.DocTestFinder(recurse=False).find(thing, name, globs=globs):
        doctest.DocTestRunner().run(test, out=said.append)
    return "".join(said)


def examples():
    for module in MODULES:
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", None) == module.__name__ and (thing.__doc__ or "").count(">>>"):
                yield f"{module.__name__}.{name}", thing
            if inspect.isclass(thing) and thing.__module__ == module.__name__:
                for inner, method in vars(thing).items():
                    if ">>>" in (getattr(method, "__doc__", None) or ""):
                        yield f"{module.__name__}.{name}.{inner}", method


EXAMPLES = {"Recipe.replace": Recipe.replace} | dict(examples())


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


def test_every_promised_function_has_an_example():
    promised = [getattr(lq, name) for name in lq.__all__]
    own = [thing for thing in promised if getattr(thing, "__module__", "").startswith(api.__name__)]
    methods = [
        method
        for thing in own
        if inspect.isclass(thing)
        for name, method in vars(thing).items()
        if inspect.isfunction(method) and not name.startswith("_")
    ]
    bare = [thing.__qualname__ for thing in [*filter(inspect.isfunction, own), *methods] if ">>>" not in thing.__doc__]
    assert len(own) >= 4 and bare == []

"""Low-bit networks on data that arrives as a sequence of unbalanced tasks, in JAX.

    import lifeq_jax as lq

    recipe = lq.load_recipe("configs/lifequant/resnet20_digits.py")
    lq.train(recipe, "runs/digits", seeds=(0, 1))

docs/api.md lists the names of this module, which stay. They are imported when they are first used, so that
`import lifeq_jax` itself takes no time."""

from importlib import import_module
from typing import Any

_HOMES = {  # name -> module that has it, and what it is called there where that is something else
    "Batch": "core.types",
    "Data": "core.config",
    "Diverged": "core.refusal",
    "Optimizer": "core.config",
    "Part": "core.config",
    "Recipe": "core.config",
    "Refusal": "core.refusal",
    "Runs": "api.runs",
    "Stage": "core.config",
    "StageStart": "methods.base",
    "Sweep": "api.sweep",
    "classification": "train.classify",
    "fast_cpu": "api.speed",
    "fresh_state": "train.step",
    "load_recipe": "core.recipe_file",
    "make_step": "train.step",
    "network": "train.network",
    "read": "api.runs",
    "setup": "layers.setups:quantizers",
    "sweep": "api.sweep",
    "train": "api.train",
}
_TABLES = {  # name -> room, where the rows of a table are makers by name
    "losses": "losses",
    "methods": "methods",
    "metrics": "metrics",
    "models": "models",
    "optim": "optim",
    "quantizers": "quant",
}

__all__ = sorted(_HOMES | _TABLES)  # noqa: PLE0605

# The room and the function have one name. Importing the (empty) package binds it, once; here, and not when somebody
# first needs the room, so that it can be the function's from now on.
import_module("lifeq_jax.train")
del globals()["train"]


def __getattr__(name: str) -> Any:
    if name in _TABLES:
        found = import_module(f"lifeq_jax.{_TABLES[name]}")
    elif name in _HOMES:
        module, _, there = _HOMES[name].partition(":")
        found = getattr(import_module(f"lifeq_jax.{module}"), there or name)
    else:
        raise AttributeError(f"module 'lifeq_jax' has no attribute {name!r}; it offers {', '.join(__all__)}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__

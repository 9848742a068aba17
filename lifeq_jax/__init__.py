"""Low-bit networks on data that arrives as a sequence of unbalanced tasks, in JAX.

    import lifeq_jax as lq

    recipe = lq.load_recipe("lifequant/resnet20_digits")
    lq.train(recipe, "runs/digits", seeds=(0, 1))

docs/api.md lists the names of this module, which stay. They are imported when they are first used, so that
`import lifeq_jax` itself takes no time."""

from importlib import import_module
from typing import Any

_HOMES = {  # name -> module that has it, and what it is called there where that is something else
    "Batch": "core.types",
    "Between": "api.search",
    "Data": "core.config",
    "Diverged": "core.refusal",
    "GameRecipe": "core.game_recipe",
    "Games": "core.game_recipe",
    "Optimizer": "core.config",
    "Part": "core.config",
    "Recipe": "core.config",
    "Refusal": "core.refusal",
    "Runs": "api.runs",
    "Search": "api.search",
    "Stage": "core.config",
    "StageStart": "methods.base",
    "Sweep": "api.sweep",
    "classification": "train.classify",
    "export": "api.export",
    "fast_cpu": "api.speed",
    "fresh_state": "train.step",
    "load_recipe": "core.game_recipe:load_any",
    "make_step": "train.step",
    "network": "train.network",
    "read": "api.runs",
    "search": "api.search",
    "setup": "layers.setups:quantizers",
    "sweep": "api.sweep",
    "toy_runs": "toy",
    "trace": "api.trace",
    "train": "api.train",
    "train_games": "api.games",
    "trained": "api.trained",
}
_TABLES = {  # name -> module, where the rows of a table are makers by name
    "datasets": "core.datasets",
    "losses": "losses",
    "methods": "methods",
    "metrics": "metrics",
    "models": "models",
    "optim": "optim",
    "quantizers": "quant",
    "tasks": "api.tasks",
}

__all__ = sorted(_HOMES | _TABLES)  # noqa: PLE0605

# These rooms and functions have one name. Importing the (empty) package binds it, once; here, and not when somebody
# first needs the room, so that it can be the function's from now on.
for _name in ("export", "train"):
    import_module(f"lifeq_jax.{_name}")
    del globals()[_name]


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

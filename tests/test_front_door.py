"""`import lifeq_jax as lq`: the promised names, and that the import itself costs nothing."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lifeq_jax as lq

ROOT = Path(__file__).parent.parent
PROMISED = [
    "Batch",
    "Between",
    "Data",
    "Diverged",
    "GameRecipe",
    "Games",
    "Optimizer",
    "Part",
    "Recipe",
    "Refusal",
    "Runs",
    "Search",
    "Stage",
    "StageStart",
    "Sweep",
    "classification",
    "datasets",
    "export",
    "fast_cpu",
    "fresh_state",
    "load_recipe",
    "losses",
    "make_step",
    "methods",
    "metrics",
    "models",
    "network",
    "optim",
    "quantizers",
    "read",
    "search",
    "setup",
    "sweep",
    "tasks",
    "toy_runs",
    "trace",
    "train",
    "train_games",
    "trained",
]


def said_by(program):
    words = [sys.executable, "-c", program]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_the_promised_names_are_these():
    assert dir(lq) == lq.__all__ == PROMISED


def test_every_promised_name_is_there_with_a_docstring():
    assert [name for name in PROMISED if not inspect.getdoc(getattr(lq, name))] == []


def test_docs_list_the_promised_names():
    table = (ROOT / "docs" / "api.md").read_text().split("## Names")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `lq.")]
    assert sorted(re.findall(r"`lq\.(\w+)`", " ".join(rows))) == PROMISED


def test_another_name_is_an_error_that_lists_them():
    with pytest.raises(AttributeError, match="has no attribute 'fit'; it offers Batch, "):
        lq.fit  # noqa: B018


def test_the_import_loads_nothing_but_the_standard_library():
    show = "print(*{name.split('.')[0] for name in {*sys.modules} - before})"
    loaded = said_by(f"import sys; before = {{*sys.modules}}; import lifeq_jax; {show}")
    assert "lifeq_jax" in loaded.split() and {*loaded.split()} <= {"lifeq_jax", *sys.stdlib_module_names}


@pytest.mark.parametrize("first", ["", "from lifeq_jax.train.run import run_recipe", "import lifeq_jax.train.step"])
def test_train_is_the_function_whatever_was_imported_before(first):
    program = f"{first}\nimport lifeq_jax as lq\nfrom lifeq_jax.train import step\nprint(lq.train.__module__)"
    assert said_by(program) == "lifeq_jax.api.train"


@pytest.mark.parametrize(
    ("table", "row"),
    [("quantizers", "lsq"), ("methods", "ewc"), ("losses", "cross_entropy"), ("models", "mlp"), ("optim", "cosine")],
)
def test_tables_are_makers_by_name(table, row):
    assert callable(getattr(getattr(lq, table), row))
    assert lq.quantizers.lsq(4).bits == 4
    assert lq.losses.cross_entropy().__call__


def blocks(section):
    """The Python of a section of docs/api.md."""
    text = (ROOT / "docs" / "api.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall("```python\n(.*?)```", text, re.DOTALL))


def executed(section, **given):
    names = given | {"lq": lq}
    exec(compile(blocks(section), f"docs/api.md: {section}", "exec"), names)
    return names


def test_the_loop_of_the_docs_learns_in_four_bits():
    names = executed("A training loop of one's own")
    assert names["accuracy"] > 0.9
    (codes,) = names["integers"].values()
    values = np.unique(codes.values)
    assert 2 < len(values) <= 16


def test_the_integers_of_the_docs_are_those_of_the_weights():
    names = executed("Integers of a tree of parameters")
    kernel, codes = names["weights"]["conv"]["kernel"], names["codes"]
    assert 8 < len(np.unique(codes.values)) <= 16 and np.all(names["weights"]["conv"]["bias"] == 1)
    np.testing.assert_allclose(kernel, (codes.values - codes.zero) * codes.scale, atol=1e-6)
    assert np.any(names["slopes"]["conv"]["kernel"] != 0)

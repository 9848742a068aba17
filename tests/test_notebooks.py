"""The notebooks run from the first cell to the last with tiny settings, all in one process, and keep to their form."""

import ast
import re
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = {path.stem: jupytext.read(path) for path in sorted((ROOT / "notebooks").glob("*.py"))}
ONE = {"seeds": (0,), "float_epochs": 1, "epochs": 1}
TINY = {  # for the cell tagged "parameters"
    "01_quickstart": {"seeds": (0,), "epochs": (1, 1, 1)},
    "02_proxq": ONE,
    "03_ball": ONE | {"gammas": (1,), "rates": (), "gamma": 1, "losses": ["ball_log_prior"]},
    "04_oscillations": ONE | {"steps": 3, "toy_steps": 80, "controls": [("track", {}), ("freeze", {})]},
    "05_climbq": ONE | {"losses": ["homovar"]},
    "06_blip": {"seeds": (0,), "epochs": 1, "hidden": 8, "methods": [("blip", {"prior": 1e-8, "head": False})]},
    "07_mix_and_match": ONE | {"quantizers": ["lsq"], "methods": ["finetune"], "losses": ["ball_log_prior"]},
    "08_your_own": ONE,
    "09_games": {"seeds": (0,), "epochs": 1, "updates": 1},
}
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # one seed has no deviation


def code_of(notebook, **values):
    """The code of a notebook, with assignments appended to its parameters."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (parameters,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assigned = {node.id for node in ast.walk(ast.parse(parameters.source)) if isinstance(node, ast.Name)}
    assert assigned >= values.keys(), "settings that the notebook does not have"
    given = "".join(f"\n{name} = {value!r}" for name, value in values.items())
    return "\n".join(cell.source + given * (cell is parameters) for cell in cells)


def figures_of(notebook):
    """Names of the files below docs/figures that a notebook writes."""
    return re.findall(r'figures / "(\w+\.png)"', code_of(notebook))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder like the repository's."""
    place = tmp_path_factory.mktemp("repository")
    (place / "notebooks").mkdir()
    (place / "examples").symlink_to(ROOT / "examples")
    return place


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_runs_and_draws(name, repository, monkeypatch):
    monkeypatch.chdir(repository / "notebooks")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")  # lq.fast_cpu leaves the allocator of the other tests alone
    plt.close("all")
    exec(compile(code_of(NOTEBOOKS[name], **TINY[name]), name, "exec"), {})
    sizes = [(repository / "docs/figures" / figure).stat().st_size for figure in figures_of(NOTEBOOKS[name])]
    assert sizes and min(sizes) > 5000
    for axes in (axes for number in plt.get_fignums() for axes in plt.figure(number).axes):
        assert axes.get_xlabel() and (axes.get_ylabel() or axes.get_shared_y_axes().get_siblings(axes)[1:])
    assert {path.name for path in repository.iterdir()} <= {"notebooks", "examples", "data", "runs", "docs"}


@pytest.mark.parametrize("notebook", NOTEBOOKS.values(), ids=NOTEBOOKS)
def test_form(notebook):
    lines = [line for line in code_of(notebook).splitlines() if line.strip()]
    assert len(lines) <= 60
    imported = [line for line in lines if re.search("lifeq_jax", line)]
    assert imported == ["import lifeq_jax as lq"]
    for cell, after in zip(notebook.cells, notebook.cells[1:], strict=False):
        if 'figures / "' in cell.source:
            assert "**What to see.**" in after.source
    assert notebook.cells[-1].cell_type == "markdown" or 'figures / "' not in notebook.cells[-1].source


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_pair_agrees(name):
    pair = [jupytext.read(ROOT / "notebooks" / f"{name}{ending}") for ending in (".py", ".ipynb")]
    first, second = ([(cell.cell_type, cell.source) for cell in notebook.cells] for notebook in pair)
    assert first == second


def test_figures_in_the_docs_are_those_that_the_notebooks_write():
    written = {figure for notebook in NOTEBOOKS.values() for figure in figures_of(notebook)}
    assert {path.name for path in (ROOT / "docs/figures").iterdir()} == written

"""The notebook runs from the first cell to the last, and its numbers are those of the run folder."""

import json
import shutil
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from lifeq_jax.metrics.continual import CONTINUAL
from lifeq_jax.report.tables import per_cent
from lifeq_jax.runs.read import read_run

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_lifelong_4bit.ipynb"
PARAMETERS = {"epochs": 1}


def with_parameters(notebook, values):
    """The notebook with assignments appended to its cell tagged "parameters"."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())
    return notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """(repository in a temporary folder, the executed notebook)."""
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "configs", repository / "configs")
    (repository / "notebooks").mkdir()
    notebook = with_parameters(nbformat.read(NOTEBOOK, as_version=4), PARAMETERS)
    where = {"metadata": {"path": str(repository / "notebooks")}}
    return repository, NotebookClient(notebook, timeout=600, resources=where).execute()


def shown(notebook, kind):
    """What the cells displayed of one MIME type, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def test_plots_came_out(executed):
    _, notebook = executed
    images = shown(notebook, "image/png")
    assert len(images) == 3 and min(len(image) for image in images) > 5000


def test_numbers_are_those_of_the_run(executed):
    repository, notebook = executed
    run = read_run(repository / "runs" / "notebook_01_epochs1")
    summary = json.loads((run.folder / "summary.json").read_text())
    matrix, metrics, _ = shown(notebook, "text/markdown")
    assert all(per_cent(value) in matrix for value in run.matrix.ravel())
    rows = {tuple(line.strip("| ").split()[::2]) for line in metrics.splitlines()}
    assert all((name, per_cent(summary["metrics"][name])) in rows for name in CONTINUAL)
    assert all(stage.epochs == 1 for stage in run.recipe.stages)


def test_everything_is_written_inside_the_repository(executed):
    repository, _ = executed
    assert {path.name for path in repository.iterdir()} == {"configs", "notebooks", "data", "runs"}
    assert (repository / "runs" / "notebook_01_epochs1" / "report" / "report.md").is_file()


def test_the_pair_agrees_and_carries_no_outputs():
    notebook, script = nbformat.read(NOTEBOOK, as_version=4), jupytext.read(NOTEBOOK.with_suffix(".py"))
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)

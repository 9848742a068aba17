"""Trained runs: their numbers as rows, tables, curves, and a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifeq_jax.api.shown import InMarkdown, MarkdownTable, Pictures
from lifeq_jax.core.config import Recipe, read_recipe
from lifeq_jax.report.groups import Group, group_runs
from lifeq_jax.report.plots import draw_training
from lifeq_jax.report.tables import comparison_table, matrix_table
from lifeq_jax.report.write import write_report
from lifeq_jax.runs.folder import CONFIG, read_summary, seed_folders
from lifeq_jax.runs.read import Run, read_runs

Row = dict[str, Any]


@dataclass(frozen=True, repr=False)
class Runs(InMarkdown):
    """Runs of one or several recipes, each with one or several seeds. A notebook shows their comparison."""

    finished: tuple[Run, ...]
    """In the order in which they were named, seeds ascending. Each has `folder`, `recipe`, `matrix` and more."""
    others: tuple[tuple[Path, str], ...] = ()
    """Folders of runs that are not finished, each with 'unfinished' or 'diverged: <why>'."""

    def _groups(self) -> tuple[Group, ...]:
        return group_runs(self.finished)

    def table(self) -> MarkdownTable:
        """One row for each recipe: mean ± sample standard deviation over its seeds of the continual metrics, per cent.

        Example:
            >>> print(lq.read(folder).table())  # doctest: +ELLIPSIS
            | recipe | method   | loss ...
        """
        return MarkdownTable(comparison_table(self._groups()))

    def matrix(self) -> MarkdownTable:
        """The accuracy matrix of each recipe, mean over its seeds, per cent; in brackets: tasks not trained yet.

        Example:
            >>> print(lq.read(folder).matrix())  # doctest: +ELLIPSIS
            **tiny**
            <BLANKLINE>
            |              | task 1 | task 2 ...
        """
        return MarkdownTable("\n\n".join(f"**{group.label}**\n\n{matrix_table(group)}" for group in self._groups()))

    def curves(self) -> Pictures:
        """The accuracy on each task over the epochs of all stages, a picture for each recipe, a line for each seed.

        Example:
            >>> lq.read(folder).curves().save(folder / "curves.png").stat().st_size > 10_000
            True
        """
        return Pictures({group.label: draw_training(group) for group in self._groups()})

    def report(self, out: str | Path) -> Path:
        """Writes the report of `lifeq-jax report` into a folder; returns the path of report.md, beside its pictures.

        Args:
            out: the folder, which is made if it is missing.

        Raises:
            Refusal: the folder cannot be written.

        Example:
            >>> lq.read(folder).report(folder / "report").name
            'report.md'
        """
        return write_report(self.finished, out, others=self.others)

    def rows(self) -> list[Row]:
        """One dictionary for each run, in the form that pandas.DataFrame reads.

        The keys are the recipe's name, method, loss, bits, the images that accuracies are measured on, seed, metrics
        (shares; absent if the run is not finished), seconds, status and folder.

        Example:
            >>> [row] = lq.read(folder).rows()
            >>> row["method"], row["weight_bits"], row["seed"], row["status"], 0 <= row["average_accuracy"] <= 1
            ('finetune', 4, 0, 'finished', True)
        """
        done = [{**_told(run.recipe), **results(run.folder), "folder": str(run.folder)} for run in self.finished]
        rest = [
            {**_told(read_recipe(folder / CONFIG)), "status": status, "folder": str(folder)}
            for folder, status in self.others
        ]
        return [*done, *rest]

    def _repr_markdown_(self) -> str:
        left_out = [f"- `{folder}`: {status}" for folder, status in self.others]
        return "\n\n".join([self.table(), *(["Not finished:\n\n" + "\n".join(left_out)] if left_out else [])])


def read(*folders: str | Path) -> Runs:
    """Reads the results of training.

    Args:
        folders: each a run folder, a folder of seeds, or a folder of such folders, as written by `sweep`.

    Returns:
        The finished runs, and the status of the others.

    Raises:
        Refusal: a folder holds no run, a file of a run is damaged, or no run is finished.

    Example:
        >>> runs = lq.read(folder)
        >>> runs.finished[0].matrix.shape
        (2, 2)
    """
    runs, others = read_runs([found for folder in folders for found in _runs_below(Path(folder))])
    return Runs(tuple(runs), tuple(others))


def _runs_below(folder: Path) -> Sequence[Path]:
    def holds_runs(path: Path) -> bool:
        return (path / CONFIG).exists() or bool(seed_folders(path))

    if holds_runs(folder) or not folder.is_dir():
        return [folder]
    return [path for path in sorted(folder.iterdir()) if holds_runs(path)] or [folder]


def _told(recipe: Recipe) -> Row:
    last = recipe.stages[-1]
    return {
        "name": recipe.name,
        "method": recipe.method.name,
        "loss": recipe.loss.name,
        "weight_bits": last.weight_bits,
        "act_bits": last.act_bits,
        "images": recipe.data.evaluate_on,
        "seed": recipe.seed,
    }


def folder_of(run: Run | str | Path) -> Path:
    """The folder of a run, which is given itself or by its folder."""
    return run.folder if isinstance(run, Run) else Path(run)


def results(folder: Path) -> Row:
    """Metrics, seconds and status of a finished run, from its summary."""
    summary = read_summary(folder)
    return {**summary["metrics"], "seconds": summary["seconds"], "status": "finished"}

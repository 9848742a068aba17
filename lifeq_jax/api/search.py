"""A search of settings on held-out training images with Optuna: resumable, shared by all processes that start it."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import Timeout

from lifeq_jax.api.cells import GridPoint, make_cells, value_of
from lifeq_jax.api.runs import Row
from lifeq_jax.api.shown import InMarkdown, MarkdownTable
from lifeq_jax.api.sweep import cell_row, lock_of, train_cell
from lifeq_jax.core.config import Part, Recipe, digest, kind_of
from lifeq_jax.core.files import write_whole
from lifeq_jax.core.game_recipe import check_kind
from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.core.refusal import Diverged, Refusal
from lifeq_jax.train.stage import Log

METRIC = "average_accuracy"
JOURNAL, CHOSEN = "search.journal", "chosen.json"


class Between(NamedTuple):
    """Numbers from low to high, both inclusive, evenly spread on a logarithmic axis or, with log=False, on a plain one.

    Example:
        >>> lq.Between(1e-3, 1e3)
        Between(low=0.001, high=1000.0, log=True)
    """

    low: float
    high: float
    log: bool = True


SearchSpace = Mapping[str, Between | Sequence[Any]]


@dataclass(frozen=True, repr=False)
class Search(InMarkdown):
    """What a search tried and what it chose. A notebook shows the table."""

    recipe: Recipe
    """The recipe with the chosen values."""
    values: dict[str, Any]
    """The chosen value of every key of the space."""
    trials: tuple[Row, ...]
    """One dictionary for each trial: its values, average_accuracy (the mean over the seeds it was trained with, a
    share; absent where it diverged) and status ('finished', 'pruned' or 'diverged: <why>')."""

    def table(self) -> MarkdownTable:
        """One row for each trial, best first.

        Example:
            >>> space = {"stages.2.learning_rate": lq.Between(0.01, 1.0)}
            >>> found = lq.search(recipe, space, folder / "one key", trials=2)
            >>> print(found.table())  # doctest: +ELLIPSIS
            | stages.2.learning_rate | average_accuracy | status ...
        """
        best = sorted(self.trials, key=lambda row: row.get(METRIC, -1.0), reverse=True)
        lines = [
            [
                *(_shown(row[key]) for key in self.values),
                f"{100 * row[METRIC]:.2f}" if METRIC in row else "",
                row["status"],
            ]
            for row in best
        ]
        return MarkdownTable(markdown_table([*self.values, METRIC, "status"], lines))

    def _repr_markdown_(self) -> str:
        return self.table()


def search(
    recipe: Recipe,
    space: SearchSpace,
    folder: str | Path,
    trials: int = 10,
    seeds: Sequence[int] = (0,),
    log: Log = lambda line: None,
) -> Search:
    """Looks for values of some keys with the highest average accuracy on validation images, by Optuna's TPE sampler.

    The first trial has the recipe's own values if they lie in the space; up to the tenth, values are drawn at random,
    then near those that did well. A trial trains its seeds one after the other. From the sixth trial on it is pruned,
    without the rest of its seeds, once its mean is below the median of the trials before it at as many seeds. What is
    drawn depends on the trials before it alone: a search that was stopped goes on as if it had not been. Several
    processes, on any machines that share the folder, share the trials: start the same search in each. Each returns when
    all trials are done.

    The folder holds Optuna's journal, chosen.json with the chosen values, and the runs, laid out as by `sweep`.

    Args:
        recipe: with data.validation above 0; test images are never looked at.
        space: dotted key, as of `Recipe.replace` -> Between(low, high), or a list of choices. A choice of a table's row
            ("loss", "method", ...) is a Part, a name, or a pair of name and arguments.
        folder: of the search.
        trials: how many in all; more may be asked for later.
        seeds: the seeds of each trial.
        log: gets a line of text after every epoch and every trial.

    Returns:
        The search: `.recipe`, `.values`, `.trials`, `.table()`.

    Raises:
        Refusal: a key, value or range is wrong, no validation images are held out, the folder belongs to another
            search, or Optuna is not installed.
        Diverged: no trial finished.

    Example:
        >>> space = {"stages.2.learning_rate": lq.Between(0.01, 1.0), "loss": ["cross_entropy", "ball_shift"]}
        >>> found = lq.search(recipe, space, folder / "two keys", trials=2)
        >>> len(found.trials), sorted(found.values)
        (2, ['loss', 'stages.2.learning_rate'])
    """
    check_kind(recipe, Recipe, "searches are of images, and lq.load_recipe gives a recipe by its name")
    optuna, folder = _optuna(), Path(folder)
    corners = make_cells(recipe, {key: _ends(recipe, key, values) for key, values in space.items()}, "validation")
    trunks = tuple(one for one in corners[0].trunks if all(one in cell.trunks for cell in corners))
    study = _study(optuna, recipe, space, folder)
    running = optuna.trial.TrialState.RUNNING
    while (claimed := _claim(optuna, study, recipe, space, folder, trials)) or study.get_trials(states=[running]):
        if claimed is None:
            time.sleep(1)  # others train these
            continue
        trial, lock = claimed
        with lock:
            values = {key: [value] for key, value in _values(space, trial.params).items()}
            [cell] = make_cells(recipe, values, "validation")
            _evaluate(optuna, study, trial, cell._replace(trunks=trunks), folder, seeds, log)
        log(f"trial {trial.number + 1}: {study.trials[trial.number].state.name.lower()}")
    return _result(study, recipe, space, folder)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise Refusal("a search needs Optuna; pip install 'lifeq_jax[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _ends(recipe: Recipe, key: str, values: Between | Sequence[Any]) -> list[Any]:
    """All choices of a key, or the ends of its range."""
    if not isinstance(values, Between):
        return values  # type: ignore[return-value]  # make_cells refuses what is no list
    if not values.low < values.high or (values.log and values.low <= 0):
        raise Refusal(
            f"space {key!r} is {tuple(values)}; give a low end, above 0 on a logarithmic axis, and a higher one"
        )
    kind = int if kind_of(recipe, key)[0] is int else float
    return [kind(values.low), kind(values.high)]


def _choices(values: Sequence[Any]) -> dict[Any, Any]:
    """The choices of a key by what Optuna's journal calls them."""
    return {value if isinstance(value, bool | int | float | str) else _shown(value): value for value in values}


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and not isinstance(value, Part):
        value = Part(*value)
    if isinstance(value, Part):
        return f"{value.name}({', '.join(f'{name}={one}' for name, one in value.args.items())})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(space: SearchSpace, params: Mapping[str, Any]) -> dict[str, Any]:
    """The values of keys that Optuna's journal calls by these names."""
    return {
        key: params[key] if isinstance(values, Between) else _choices(values)[params[key]]
        for key, values in space.items()
    }


def _distributions(optuna: Any, recipe: Recipe, space: SearchSpace) -> dict[str, Any]:
    made = {}
    for key, values in space.items():
        if not isinstance(values, Between):
            made[key] = optuna.distributions.CategoricalDistribution(list(_choices(values)))
        elif kind_of(recipe, key)[0] is int:
            made[key] = optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
        else:
            made[key] = optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)
    return made


def _study(optuna: Any, recipe: Recipe, space: SearchSpace, folder: Path) -> Any:
    """The search of the folder, new or as it stands."""
    backend = optuna.storages.journal
    identity = {"recipe": digest(recipe), "space": json.dumps(space, default=str, sort_keys=True)}
    try:
        with lock_of(folder, "study"):
            path = str(folder / JOURNAL)
            storage = optuna.storages.JournalStorage(
                backend.JournalFileBackend(path, lock_obj=backend.JournalFileOpenLock(path))
            )
            study = optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)
            is_new = not study.user_attrs
            for name, text in identity.items() if is_new else ():
                study.set_user_attr(name, text)
            if is_new:
                own = {key: _own(recipe, key, values) for key, values in space.items()}
                if None not in own.values():
                    study.enqueue_trial(own)
    except OSError as error:
        raise Refusal(f"{folder} cannot be written: {error.strerror}") from None
    for name, text in identity.items():
        if study.user_attrs.get(name) != text:
            raise Refusal(f"{folder} belongs to a search with another {name}; choose another folder")
    return study


def _own(recipe: Recipe, key: str, values: Between | Sequence[Any]) -> Any:
    """The recipe's value of a key as Optuna's journal has it; None if it is not in the space."""
    value = kind_of(recipe, key)[1]
    if isinstance(values, Between):
        return value if isinstance(value, int | float) and values.low <= value <= values.high else None
    is_part = isinstance(value, Part)
    parts = {name: Part(one) if is_part and isinstance(one, str) else one for name, one in _choices(values).items()}
    return {_shown(one): name for name, one in parts.items()}.get(_shown(value))


def _claim(optuna: Any, study: Any, recipe: Recipe, space: SearchSpace, folder: Path, trials: int) -> Any:
    """A trial that no other process works on, and its lock, held; None where all are done or under way.

    A process that was killed leaves its trial under way: the values are tried again, under another number, and the runs
    in the folder go on."""
    states = optuna.trial.TrialState
    with lock_of(folder, "study"):
        for old in study.get_trials(states=[states.RUNNING]):
            with contextlib.suppress(Timeout), lock_of(folder, f"trial{old.number}", timeout=0):
                study.tell(old.number, state=states.FAIL)
                study.enqueue_trial(old.params)
        begun = study.get_trials(deepcopy=False, states=[states.RUNNING, states.COMPLETE, states.PRUNED])
        if len(begun) >= trials:
            return None
        # what is drawn depends on the trials before it, not on when a process began
        study.sampler = optuna.samplers.TPESampler(seed=len(begun))
        trial = study.ask(_distributions(optuna, recipe, space))
        return trial, lock_of(folder, f"trial{trial.number}", timeout=0).acquire()


def _evaluate(
    optuna: Any, study: Any, trial: Any, cell: GridPoint, folder: Path, seeds: Sequence[int], log: Log
) -> None:
    """Trains the seeds of a trial and tells the study."""
    values: list[float] = []
    for seed in seeds:
        with lock_of(folder, digest(cell.recipe)):  # another process may try the same values
            train_cell(folder, cell, [seed], log)
        row = cell_row(folder, cell, seed)
        if row["status"] != "finished":
            trial.set_user_attr("why", row["status"])
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
        values.append(row[METRIC])
        trial.report(float(np.mean(values)), len(values))
        if len(values) < len(seeds) and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, float(np.mean(values)))


def _result(study: Any, recipe: Recipe, space: SearchSpace, folder: Path) -> Search:
    """What the study found, which is also written to the folder. Refuses where no trial finished."""
    rows = []
    for trial in study.trials:
        if trial.state.name in ("COMPLETE", "PRUNED"):
            last = trial.intermediate_values.get(max(trial.intermediate_values, default=0))
            status = "finished" if trial.state.name == "COMPLETE" else trial.user_attrs.get("why", "pruned")
            measured = {} if status.startswith("diverged") else {METRIC: last}
            rows.append({**{key: trial.params[key] for key in space}, **measured, "status": status})
    if not any(row["status"] == "finished" for row in rows):
        raise Diverged(f"none of the {len(rows)} trials finished; {rows[0]['status'] if rows else folder}")
    best = study.best_trial
    plain = {"values": best.params, METRIC: best.value, "trials": len(rows)}
    write_whole(folder / CHOSEN, json.dumps(plain, indent=2) + "\n")
    values = _values(space, best.params)
    chosen = recipe.replace({key: value_of(recipe, key, value) for key, value in values.items()})
    return Search(chosen, values, tuple(rows))

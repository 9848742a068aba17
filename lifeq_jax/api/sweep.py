"""A grid of recipes: every cell trained, what cells share trained once, all results in one table."""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from lifeq_jax.api.cells import GridPoint, ParamGrid, make_cells
from lifeq_jax.api.runs import Row, results
from lifeq_jax.api.shown import InMarkdown, MarkdownTable, Pictures
from lifeq_jax.core.config import Recipe, digest
from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import mean_and_std
from lifeq_jax.report.points import draw_points
from lifeq_jax.report.tables import per_cent, with_spread
from lifeq_jax.rl.run import run_games_seeds
from lifeq_jax.runs.folder import CONFIG, DIVERGED, MATRIX, SUMMARY, open_run_folder, status
from lifeq_jax.train.drive import run_seeds
from lifeq_jax.train.stage import Log

RETURN = "return of "  # begins the metrics of games
SHOWN = ("average_accuracy", "learning_accuracy", "forgetting", "balanced_accuracy")  # in the table
AnyRecipe = Recipe | GameRecipe
Trunks = tuple[Recipe, ...]  # as of GridPoint
SHARED = "shared"  # folder, in that of the sweep, of the stages that cells share


@dataclass(frozen=True, repr=False)
class Sweep(InMarkdown):
    """The cells of a grid, and the folder that holds their runs. A notebook shows the table."""

    cells: tuple[GridPoint, ...]
    seeds: tuple[int, ...]
    folder: Path

    def rows(self) -> list[Row]:
        """One dictionary for each cell and seed, as pandas.DataFrame reads them.

        The varied keys, seed, metrics (shares; absent where the run is not finished), seconds (shared stages included),
        status ('finished', 'diverged: <why>' or 'unfinished') and folder.

        Example:
            >>> swept = lq.sweep(recipe, {"stages.2.weight_bits": [2, 4]}, folder / "sweep")
            >>> [(row["stages.2.weight_bits"], row["seed"], row["status"]) for row in swept.rows()]
            [(2, 0, 'finished'), (4, 0, 'finished')]
        """
        return [cell_row(self.folder, cell, seed) for cell in self.cells for seed in self.seeds]

    def table(self) -> MarkdownTable:
        """One row for each cell: mean ± sample standard deviation over the n seeds that finished, per cent, or returns.

        Runs that did not finish follow, each with the reason.

        Example:
            >>> swept = lq.sweep(recipe, {"stages.2.weight_bits": [2, 4]}, folder / "sweep")
            >>> print(swept.table())  # doctest: +ELLIPSIS
            | stages.2.weight_bits | images     | n   | average_accuracy | ...
        """
        rows, lines, lost = self.rows(), [], []
        of_games = isinstance(self.cells[0].recipe, GameRecipe)
        shown = [name for row in rows for name in row if name.startswith(RETURN)] if of_games else SHOWN
        names = [name for name in dict.fromkeys(shown) if any(name in row for row in rows)]
        for number, cell in enumerate(self.cells):
            own = rows[number * len(self.seeds) : (number + 1) * len(self.seeds)]
            done = [row for row in own if row["status"] == "finished"]
            found = [mean_and_std([row[name] for row in done]) for name in names] if done else []
            means = [with_spread(*one) if of_games else per_cent(*one) for one in found] or [""] * len(names)
            values = [str(value) for value in cell.varied.values()]
            images = [] if isinstance(cell.recipe, GameRecipe) else [cell.recipe.data.evaluate_on]
            lines.append([*values, *images, str(len(done)), *means])
            rest = [row for row in own if row["status"] != "finished"]
            lost += [f"- {', '.join([*values, 'seed'])} {row['seed']}: {row['status']}" for row in rest]
        table = markdown_table([*self.cells[0].varied, *([] if of_games else ["images"]), "n", *names], lines)
        return MarkdownTable("\n\n".join([table, *(["\n".join(["Not finished:\n", *lost])] if lost else [])]))

    def plot(self, metric: str, by: str, hue: str | None = None) -> Pictures:
        """One point for each seed that finished, and mean and sample standard deviation of each cell.

        Args:
            metric: a metric of `rows`.
            by: the varied key along the axis.
            hue: the varied key that colors and markers tell apart. Other keys that vary do so too.

        Raises:
            Refusal: no run has this metric, or a key does not vary.

        Example:
            >>> grid = {"method": ["finetune", ("ewc", {"strength": 10.0})], "stages.2.weight_bits": [2, 4]}
            >>> swept = lq.sweep(recipe, grid, folder / "sweep")
            >>> picture = swept.plot("average_accuracy", by="method", hue="stages.2.weight_bits")
            >>> picture.save(folder / "sweep.png").name
            'sweep.png'
        """
        rows, keys, recipe = self.rows(), list(self.cells[0].varied), self.cells[0].recipe
        if isinstance(recipe, GameRecipe):
            return Pictures({metric: draw_points(rows, keys, metric, by, hue, metric, scale=1)})
        on = f"on {recipe.data.evaluate_on} images"
        label = f"{metric.replace('_', ' ')} {on}, %"
        return Pictures({f"{metric} {on}": draw_points(rows, keys, metric, by, hue, label)})

    def _repr_markdown_(self) -> str:
        return self.table()


def sweep(
    recipe: AnyRecipe,
    grid: ParamGrid | Sequence[ParamGrid],
    folder: str | Path,
    seeds: Sequence[int] = (0,),
    *,
    on: str | None = None,
    log: Log = lambda line: None,
) -> Sweep:
    """Trains every cell of a grid with every seed. Stopped, it goes on where it stood; values and seeds may be added.

    Several processes, on any machines that share the folder, share the cells: start the same sweep in each. Each
    returns when all cells are done.

    The runs of a cell are in `folder`/<digest of its recipe>/seed<s>, as `train` leaves them, and `read(folder)` reads
    all. A run that diverges is kept with its reason; it is tried again once its folder is deleted.

    Stages that several cells share are trained once, in `folder`/shared, and their run folder is copied: first stages
    that have every setting in common, the recipe's and their own. Cells of different methods share them too where each
    of these stages trains one task and neither method does anything before the first task has ended: not blip, frozen,
    imm, and lifequant only with prox=0. A cell ends with the same bits as without sharing; under another method, up to
    the rounding of a program that is compiled anew.

    Args:
        recipe: what the cells have in common.
        grid: dotted key -> values, as of `Recipe.replace`; every combination is a cell. A row of a table ("method",
            "loss", ...) is a Part, a name, or a pair of name and arguments. Or a list of such grids, whose cells come
            one after the other.
        folder: of the sweep.
        seeds: the seeds of each cell, trained in one program.
        on: the images that accuracies are measured on, "validation" (the default) or "test". To choose settings by test
            images is to train on them. Games have no images: choose settings by other seeds than those of the result.
        log: gets a line of text after every epoch; a bar shows how many runs are done.

    Returns:
        The sweep: `.rows()`, `.table()`, `.plot(...)`.

    Raises:
        Refusal: a key or value is wrong, or no validation images are held out; nothing has been written then.

    Example:
        >>> grid = {"method": ["finetune", ("ewc", {"strength": 10.0})], "stages.2.weight_bits": [2, 4]}
        >>> swept = lq.sweep(recipe, grid, folder / "sweep", seeds=(0, 1))
        >>> len(swept.rows()), swept.rows()[-1]["method"]
        (8, 'ewc(strength=10.0)')
    """
    if not isinstance(recipe, AnyRecipe):
        raise Refusal(f"recipe is a {type(recipe).__name__}; lq.load_recipe gives a recipe by its name")
    made = Sweep(tuple(make_cells(recipe, grid, on)), tuple(seeds), Path(folder))
    left = list(made.cells)
    with tqdm(total=len(left) * len(made.seeds), desc="sweep", unit="run") as bar:
        while left:
            for cell in list(left):
                with contextlib.suppress(Timeout), lock_of(made.folder, digest(cell.recipe), timeout=0):
                    train_cell(made.folder, cell, made.seeds, log)
                    left.remove(cell)
                    bar.update(len(made.seeds))
            if left:
                time.sleep(1)  # others train these
    return made


def train_cell(folder: Path, cell: GridPoint, seeds: Sequence[int], log: Log) -> None:
    """Trains seeds of a cell in the folder of its sweep, each from the end of the stages it shares with others.

    A seed that is finished or has diverged is left alone."""
    _train(folder, folder / digest(cell.recipe), cell.recipe, cell.trunks, seeds, log)


def cell_row(folder: Path, cell: GridPoint, seed: int) -> Row:
    """The row of `Sweep.rows` of a cell and seed."""
    place = folder / digest(cell.recipe)
    run, state = place / f"seed{seed}", _status(folder, place, cell.trunks, seed)
    found = results(run) if state == "finished" else {"status": state}
    return {**cell.varied, "seed": seed, **found, "folder": str(run)}


def _train(folder: Path, place: Path, recipe: AnyRecipe, trunks: Trunks, seeds: Sequence[int], log: Log) -> None:
    fresh = [seed for seed in seeds if not (place / f"seed{seed}" / CONFIG).exists()]
    if fresh and trunks:
        shared = _shared(folder, trunks[-1])
        with lock_of(folder, digest(trunks[-1])):  # other processes wait for it
            _train(folder, shared, trunks[-1], trunks[:-1], fresh, log)
        for seed in fresh:
            if status(shared / f"seed{seed}") == "finished":
                _copy(shared / f"seed{seed}", place / f"seed{seed}", dataclasses.replace(recipe, seed=seed))
    wanted = [seed for seed in seeds if not _status(folder, place, trunks, seed).startswith("diverged")]
    if not wanted:
        return
    if isinstance(recipe, GameRecipe):
        run_games_seeds(recipe, wanted, place, log)
    else:
        run_seeds(recipe, wanted, place, log)


def lock_of(folder: Path, name: str, timeout: float = -1) -> FileLock:
    """A lock for the processes that share the folder of a sweep or a search; the system releases it when one is killed.

    name: the digest of a cell or of shared stages, or a name that no digest can have. Makes the folder."""
    locks = folder / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"{folder} cannot be written: {error.strerror}") from None
    return FileLock(locks / name, timeout=timeout)


def _shared(folder: Path, trunk: Recipe) -> Path:
    return folder / SHARED / digest(trunk)


def _copy(run: Path, target: Path, recipe: AnyRecipe) -> None:
    """A run folder that stands where a finished run of the recipe's first stages has ended."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(run, part, ignore=shutil.ignore_patterns(CONFIG, SUMMARY, MATRIX, DIVERGED, "lock"))
    open_run_folder(part, recipe)
    part.rename(target)


def _status(folder: Path, place: Path, trunks: Trunks, seed: int) -> str:
    """As of runs.folder; of a run that has not begun also why a stage that it shares with others has diverged."""
    runs = [place / f"seed{seed}", *(_shared(folder, trunk) / f"seed{seed}" for trunk in trunks)]
    own, *above = map(status, runs)
    begun = (runs[0] / CONFIG).exists()
    return own if begun else next((state for state in above if state.startswith("diverged")), "unfinished")

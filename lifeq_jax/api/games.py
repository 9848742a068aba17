"""Training on games from Python: one run, or several seeds of it, and their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lifeq_jax.api.runs import Row, results
from lifeq_jax.api.shown import InMarkdown
from lifeq_jax.core.game_recipe import GameRecipe, check_kind
from lifeq_jax.report.games import group_games, returns_table, write_games_report
from lifeq_jax.rl.run import run_games, run_games_seeds
from lifeq_jax.runs.games import GameRun, read_game_runs
from lifeq_jax.train.stage import Log


@dataclass(frozen=True, repr=False)
class GameRuns(InMarkdown):
    """Runs on games, of one or several seeds. A notebook shows their returns."""

    finished: tuple[GameRun, ...]
    """Seeds ascending. Each has `names` of the games, `matrix` of returns, `errors`, `chance`, `learning` and more."""
    others: tuple[tuple[Path, str], ...] = ()
    """Folders of runs that are not finished, each with 'unfinished' or 'diverged: <why>'."""

    def rows(self) -> list[Row]:
        """One dictionary for each finished run, in the form that pandas.DataFrame reads: name, method, seed, the final
        return in each game, seconds, status and folder."""
        return [
            {"name": run.recipe.name, "method": run.recipe.method.name, "seed": run.recipe.seed}
            | {**results(run.folder), "folder": str(run.folder)}
            for run in self.finished
        ]

    def _repr_markdown_(self) -> str:
        return "\n\n".join(f"**{group.label}**\n\n{returns_table(group)}" for group in group_games(self.finished))

    def report(self, out: str | Path) -> Path:
        """Writes the report of `lifeq-jax report` into a folder; returns the path of report.md."""
        return write_games_report(self.finished, out, self.others)


def train_games(
    recipe: GameRecipe, folder: str | Path, seeds: Sequence[int] | None = None, *, log: Log = print
) -> GameRuns:
    """Learns the games of a recipe one after the other. A run that was stopped resumes; a finished one is read.

    Args:
        recipe: what to learn, such as `load_recipe("blip_rl/minatar_pair")`.
        folder: without seeds the run folder; else the folder of the run folders seed0, seed1, ...
        seeds: the seeds to train, in one program. None: the recipe's own, in `folder` itself.
        log: gets a line of text after every epoch.

    Raises:
        Refusal: bad settings or a folder of another recipe, in one line; or no run has finished.

    Example:
        >>> play = {"num_envs": 2, "rollout_steps": 8, "minibatches": 1, "episodes": 2, "max_steps": 50}
        >>> games = lq.Games(("catch/catch", "catch/mirror"), image=(5, 3, 1), updates=1, **play)
        >>> stages = (lq.Stage("float", 32, 32, epochs=1, learning_rate=1e-3),)
        >>> pair = lq.GameRecipe("pair", games, lq.Part("minatar", {"features": 2, "hidden": 4}), stages)
        >>> found = lq.train_games(pair, folder / "games", log=lambda line: None)
        >>> found.finished[0].matrix.shape, found.rows()[0]["method"]
        ((2, 2), 'finetune')
    """
    check_kind(recipe, GameRecipe, "lq.train trains on images, and lq.load_recipe gives a recipe by its name")
    folder = Path(folder)
    if seeds is None:
        run_games(recipe, folder, log)
    else:
        run_games_seeds(recipe, seeds, folder, log)
    runs, others = read_game_runs([folder] if seeds is None else [folder / f"seed{seed}" for seed in seeds])
    return GameRuns(tuple(runs), tuple(others))

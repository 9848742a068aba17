"""Training from Python: one run, or several seeds of it."""

from collections.abc import Sequence
from pathlib import Path

from lifeq_jax.api.runs import Runs, read
from lifeq_jax.core.config import Recipe
from lifeq_jax.core.game_recipe import check_kind
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.train.drive import run_seeds
from lifeq_jax.train.run import run_recipe, unwatched
from lifeq_jax.train.stage import Log, Watch


def train(
    recipe: Recipe,
    folder: str | Path,
    seeds: Sequence[int] | None = None,
    *,
    log: Log = print,
    watch: Watch = unwatched,
) -> Runs:
    """Trains all stages of a recipe. A run that was stopped resumes; a finished one is read.

    Args:
        recipe: what to train.
        folder: without seeds the run folder; else the folder of the run folders seed0, seed1, ...
        seeds: the seeds to train, in one program. None: the recipe's own, in `folder` itself.
        log: gets a line of text after every epoch.
        watch: is called after every epoch, task and checkpoint with a `train.stage.Moment`: place, train state, row of
            metrics.csv. The arrays are valid until it returns.

    Returns:
        The runs of these seeds. Of several, those that diverged are in `others`.

    Raises:
        Refusal: bad settings or data, in one line; nothing has been written then. Or a folder of another recipe.
        Diverged: numbers became infinite or NaN, in every seed where there are several.

    Example:
        >>> runs = lq.train(recipe, folder / "two", seeds=(0, 1), log=lambda line: None)
        >>> [row["seed"] for row in runs.rows()]
        [0, 1]
    """
    check_kind(recipe, Recipe, "lq.train_games learns games, and lq.load_recipe gives a recipe by its name")
    folder = Path(folder)
    if seeds is None:
        run_recipe(recipe, folder, log, watch)
        return read(folder)
    unfinished = run_seeds(recipe, seeds, folder, log, watch)["unfinished"]
    stopped = {seed: unfinished[str(seed)] for seed in seeds if str(seed) in unfinished}
    if len(stopped) == len(seeds):
        raise Diverged("; ".join(f"seed {seed} {why}" for seed, why in stopped.items()))
    return read(*(folder / f"seed{seed}" for seed in seeds))

"""The story of one seed that learns games: stage after stage, game after game, epoch after epoch.

As in train/tasks.py, a run asks with `yield` for an epoch or an evaluation, and the same functions answer."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.game_recipe import GameRecipe
from lifeq_jax.core.keys import Stream, key_for
from lifeq_jax.core.refusal import Diverged
from lifeq_jax.core.tree import megabytes, named_leaves
from lifeq_jax.core.types import Batch, PyTree
from lifeq_jax.models.loading import load_float
from lifeq_jax.quant.codes import is_learned
from lifeq_jax.rl.build import Compiled, World
from lifeq_jax.rl.evaluate import Scores
from lifeq_jax.rl.heads import Head, Manner, head_of
from lifeq_jax.rl.learn import Lesson, batch_of_actions
from lifeq_jax.rl.play import GameEpochResult
from lifeq_jax.rl.rollout import pixels
from lifeq_jax.runs.columns import LAYERS, METRICS, SCORES
from lifeq_jax.runs.write import Row, RunFiles, layer_rows
from lifeq_jax.train.calibrate import calibrate
from lifeq_jax.train.checkpoint import Checkpoints, begun_stages, stage_folder
from lifeq_jax.train.finite import check_finite
from lifeq_jax.train.loop import Place
from lifeq_jax.train.stage import Answer, Log, Moment, Saved, Watch
from lifeq_jax.train.step import NEVER_BAD, TrainState
from lifeq_jax.train.task_end import look_back
from lifeq_jax.train.tasks import naming_stage


class Progress(NamedTuple):
    """Where a stage stands, and all that a summary needs. JSON in the checkpoint, so plain numbers only."""

    task: int  # next game to learn; the number of games once the stage is done
    epoch: int  # next epoch of it
    done: bool
    random: list[list[float]]  # for each game, mean return of an agent that acts at random, and its standard error
    matrix: list[list[float]]  # a row per finished game: mean return of every game
    errors: list[list[float]]  # the standard errors of the same
    layers: dict[str, dict[str, float]]  # what the method measured then, by leaf and quantity
    stages: dict[str, list[float]]  # mean return of every game at the end of each finished stage of the run
    seconds: float  # spent on the run
    method_seconds: float  # of these, on the method's work between games
    files: dict[str, list]  # how far each file of the run folder goes, as RunFiles.marks


class Seed(NamedTuple):
    """What belongs to one seed: its recipe and run folder; and the games, which all seeds share."""

    recipe: GameRecipe
    world: World
    folder: Path
    files: RunFiles
    log: Log
    watch: Watch


class Epoch(NamedTuple):
    """A request for the updates of one epoch."""

    stage: Compiled
    seed: Seed
    state: TrainState  # donated
    place: Place

    def lesson(self) -> tuple[Lesson, jax.Array]:
        """The place of the epoch as data of compiled programs, and its key."""
        seed, number, task, epoch = self.place
        lesson = Lesson(head_of(self.seed.world.heads, task), *(jnp.int32(each) for each in (seed, number, task)))
        return lesson, key_for(seed, number, task, epoch, stream=Stream.PLAY)

    def compute(self) -> tuple[TrainState, GameEpochResult]:
        """The answer."""
        return self.stage.players[self.place.task].learn(self.state, *self.lesson(), str(self.place))

    def order(self) -> tuple:
        """Sort key: the smallest are answered first, equal ones together."""
        return (*self.place[1:], 0)


class AllGames(NamedTuple):
    """A request for the scores on every game of the sequence, including those not yet learned."""

    stage: Compiled
    seed: Seed
    params: PyTree
    place: Place
    manner: Manner

    def compute(self) -> list[Scores]:
        """The answer."""
        return [self.score(task) for task in range(len(self.stage.players))]

    def score(self, task: int) -> Scores:
        """The scores on one game."""
        return self.stage.players[task].score(self.params, self.head(task), self.key(task), self.manner)

    def head(self, task: int) -> Head:
        """The outputs of a game."""
        return head_of(self.seed.world.heads, task)

    def key(self, task: int) -> jax.Array:
        """The key of a game. All evaluations of a seed begin a game alike."""
        return key_for(self.place.seed, task, stream=Stream.SCORE)

    def order(self) -> tuple:
        """As of Epoch."""
        return (*self.place[1:], 1, self.manner)


Ask = Epoch | AllGames


def train_run(seed: Seed, stages: Sequence[Compiled]) -> Generator[Ask, Answer, Progress]:
    """Trains all stages, from where the run folder's newest checkpoint stands; returns the last stage's progress.

    Raises:
        Diverged: a loss, an update or a state to be saved is not finite."""
    progress: Progress | None = None
    params, _ = stages[0].network.init(seed.recipe.seed)
    for stage in stages[max(begun_stages(seed.folder, seed.recipe.stages), default=0) :]:
        with closing(Checkpoints(stage_folder(seed.folder, stage.stage.name), Progress)) as checkpoints:
            params = load_float(params, stage.network.init(seed.recipe.seed)[0])
            progress = yield from train_stage(stage, seed, checkpoints, params, progress)
            params, _ = checkpoints.weights()
    assert progress is not None  # a recipe has at least one stage
    return progress


def train_stage(
    stage: Compiled, seed: Seed, checkpoints: Checkpoints, params: PyTree, before: Progress | None
) -> Generator[Ask, Answer, Progress]:
    """Learns the games of a stage; `before` is the progress of the stage before, None for the first."""
    progress: Progress = checkpoints.progress() or begin_stage(before)
    if note := checkpoints.note():
        seed.log(note)
    if progress.done:
        return progress
    num_games, epochs = stage.stage.tasks or len(seed.world.games), stage.stage.epochs
    with naming_stage(stage.stage.name, checkpoints):
        saved = enter_stage(stage, seed, checkpoints, progress, params)
        if not progress.random:
            progress = yield from play_at_random(stage, seed, saved.state.params, progress)
        for task in range(progress.task, num_games):
            for epoch in range(progress.epoch, epochs):
                place = Place(seed.recipe.seed, stage.number, task, epoch)
                rate = float(stage.schedule(saved.state.step / saved.state.num_steps))
                (state, result), seconds = yield Epoch(stage, seed, saved.state, place)
                check_result(result, place)
                saved, is_last = saved._replace(state=state), epoch + 1 == epochs
                check_finite(saved.state, f"the state after {place} of seed {seed.recipe.seed}")
                if is_last:
                    saved, progress = concluded(stage, seed, saved, progress, task + 1 == num_games)
                scores, more = [], 0.0
                if is_last or _is_due(seed, epoch):
                    manner = Manner.GREEDY if seed.recipe.games.greedy else Manner.DRAWN
                    scores, more = yield AllGames(stage, seed, saved.state.params, place, manner)
                row = epoch_row(stage, saved, place, result, rate) | score_columns(scores)
                seed.files.append(METRICS, row)
                seed.log(_line(stage, seed, place, row, num_games))
                seed.watch(Moment("epoch", place, saved.state, row))
                progress = progress._replace(epoch=epoch + 1, seconds=progress.seconds + seconds + more)
                if is_last:
                    progress = end_of_game(stage, seed, saved, progress, scores)
                    if seed.recipe.keep == "task":
                        saved.keep(seed.folder, stage.stage.name, progress)
                    seed.watch(Moment("task", place, saved.state, row))
                    saved, progress = next_game(stage, saved, progress, num_games)
                if is_last or progress.epoch % seed.recipe.checkpoint_every == 0:
                    saved.save(checkpoints, progress._replace(files=seed.files.marks()))
                    seed.watch(Moment("checkpoint", place, saved.state, row))
    return progress._replace(files=seed.files.marks())


def begin_stage(before: Progress | None) -> Progress:
    """Where a stage begins, after the progress of the stage before."""
    fresh = Progress(0, 0, False, [], [], [], {}, {}, 0.0, 0.0, {})
    if before is None:
        return fresh
    kept = ("random", "stages", "seconds", "method_seconds", "files")
    return fresh._replace(**{name: getattr(before, name) for name in kept})


def enter_stage(stage: Compiled, seed: Seed, checkpoints: Checkpoints, progress: Progress, params: PyTree) -> Saved:
    """The arrays that the stage continues from: those of the newest checkpoint, else the given parameters with
    quantizers calibrated on a rollout of the first game. Cuts the files of the run folder back to that place."""
    begins = checkpoints.progress() is None
    if begins and any(is_learned(name) for name in named_leaves(params)):
        key = key_for(seed.recipe.seed, stage.number, 0, 0, stream=Stream.PLAY)
        played = stage.players[0].examples(params, head_of(seed.world.heads, 0), key, 1)
        params = calibrate(stage.network.observe_ranges, params, {}, (pixels(image) for image, _ in played))
    seed.files.begin(progress.files)
    fresh = Saved(stage.begin(params), ())
    if begins:
        return fresh
    saved = fresh.restore(checkpoints)
    # a recipe of more epochs than before has more steps
    return saved._replace(state=saved.state._replace(num_steps=fresh.state.num_steps))


def play_at_random(stage: Compiled, seed: Seed, params: PyTree, progress: Progress) -> Generator[Ask, Answer, Progress]:
    """Scores an agent that acts uniformly at random, the baseline of normalized returns."""
    place = Place(seed.recipe.seed, stage.number, 0, 0)
    scores, seconds = yield AllGames(stage, seed, params, place, Manner.BLIND)
    seed.files.append(SCORES, *score_rows(stage.stage.name, "random", seed.world.names, scores))
    found = [[score.mean, score.error] for score in scores]
    return progress._replace(random=found, seconds=progress.seconds + seconds)


def check_result(result: GameEpochResult, place: Place) -> None:
    """Raises Diverged, naming the step, where a loss or an update of the epoch was not finite."""
    if result.totals.first_bad != NEVER_BAD:
        where = f"step {result.totals.first_bad} of {place} of seed {place.seed}"
        raise Diverged(f"the loss or the update is not finite at {where}")


def concluded(stage: Compiled, seed: Seed, saved: Saved, progress: Progress, is_final: bool) -> tuple[Saved, Progress]:
    """The state and progress after the method's work at the end of a game, on new rollouts of the finished agent."""
    if is_final and not stage.method.concludes:
        return saved, progress
    began, task, state = perf_counter(), progress.task, saved.state
    key = key_for(seed.recipe.seed, stage.number, task, stream=Stream.METHOD)

    def loader(finished: int) -> Iterable[Batch]:
        head = head_of(seed.world.heads, finished)
        own = jax.random.fold_in(key, finished)
        played = stage.players[finished].examples(state.params, head, own, seed.recipe.importance_rollouts)
        for image, action in played:
            yield batch_of_actions(image, action + head.first, head, jnp.int32(finished))

    state = jax.block_until_ready(look_back(stage.network, stage.method, state, task, loader, key))
    check_finite(state, f"what {seed.recipe.method.name} makes of the state at the end of task {task}")
    spent = progress.method_seconds + perf_counter() - began
    return saved._replace(state=state), progress._replace(method_seconds=spent)


def end_of_game(stage: Compiled, seed: Seed, saved: Saved, progress: Progress, scores: Sequence[Scores]) -> Progress:
    """Writes a finished game's rows of scores.csv and layers.csv; returns the progress with their numbers."""
    name, after = stage.stage.name, progress.task
    seed.files.append(SCORES, *score_rows(name, after, seed.world.names, scores))
    measured = jax.device_get(jax.jit(stage.method.measure)(saved.state.method_state, saved.state.params))
    layers = {leaf: {key: float(value) for key, value in numbers.items()} for leaf, numbers in measured.items()}
    seed.files.append(LAYERS, *layer_rows(name, after, layers))
    means = [score.mean for score in scores]
    return progress._replace(
        matrix=[*progress.matrix, means],
        errors=[*progress.errors, [score.error for score in scores]],
        layers=layers,
        stages=progress.stages | {name: means},
    )


def next_game(stage: Compiled, saved: Saved, progress: Progress, num_games: int) -> tuple[Saved, Progress]:
    """The arrays and the progress at the start of the next game."""
    done = progress.task + 1 == num_games
    if not done:
        saved = saved._replace(state=stage.begin_task(saved.state))
    return saved, progress._replace(task=progress.task + 1, epoch=0, done=done)


def epoch_row(stage: Compiled, saved: Saved, place: Place, result: GameEpochResult, rate: float) -> dict[str, Any]:
    """The columns of metrics.csv except the scores."""
    totals, counts = result.totals, result.totals.counts
    steps = float(totals.steps)
    row = dict(stage=stage.stage.name, task=place.task, epoch=place.epoch + 1, step=int(saved.state.step))
    row |= dict(env_steps=(place.epoch + 1) * result.steps, learning_rate=rate)
    row |= dict(loss=float(totals.loss) / steps, penalty=float(totals.penalty) / steps)
    row |= dict(policy_loss=float(counts.policy) / steps, value_loss=float(counts.value) / steps)
    row |= dict(entropy=float(counts.entropy) / steps, clipped=float(counts.clipped) / steps, games=result.games)
    row |= dict(steps_per_second=round(result.steps / result.seconds, 1), state_megabytes=megabytes(saved.state))
    if result.games:
        row["return"] = result.mean_return
    names = ("acting_seconds", "waiting_seconds", "learning_seconds")
    return row | {name: round(value, 2) for name, value in zip(names, result.parts or (), strict=False)}


def score_columns(scores: Sequence[Scores]) -> dict[str, float]:
    """The columns of metrics.csv for an evaluation on all games."""
    return {f"return_{task}": score.mean for task, score in enumerate(scores)} | {
        f"error_{task}": score.error for task, score in enumerate(scores)
    }


def score_rows(stage: str, after: int | str, names: Sequence[str], scores: Sequence[Scores]) -> list[Row]:
    """The rows of scores.csv for an evaluation on all games."""
    return [
        {
            "stage": stage,
            "after": after,
            "game": name,
            "episodes": len(score.returns),
            "finished": int(score.finished.sum()),
            "return": score.mean,
            "error": score.error,
            "steps": float(score.steps.mean()),
        }
        for name, score in zip(names, scores, strict=True)
    ]


def _is_due(seed: Seed, epoch: int) -> bool:
    every = seed.recipe.evaluate_every
    return every > 0 and (epoch + 1) % every == 0


def _line(stage: Compiled, seed: Seed, place: Place, row: dict[str, Any], num_games: int) -> str:
    shown = " ".join(f"{value:.2f}" for name, value in row.items() if name.startswith("return_"))
    played = f"return {row['return']:.2f} ({row['games']} games)" if row["games"] else "no game ended"
    return "  ".join(
        (
            f"{stage.stage.name}  {seed.world.names[place.task]} {place.task + 1}/{num_games}",
            f"epoch {place.epoch + 1}/{stage.stage.epochs}  {played}  entropy {row['entropy']:.3f}",
            f"scores {shown or '-'}  {row['steps_per_second']:.0f} steps/s",
        )
    )

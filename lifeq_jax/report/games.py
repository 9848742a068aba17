"""The report of runs on games: report.md and its plots, in one folder."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifeq_jax.core.config import to_json
from lifeq_jax.core.files import write_whole
from lifeq_jax.core.markdown import markdown_table
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.metrics.continual import continual_metrics, mean_and_std
from lifeq_jax.metrics.games import beats_chance, forward_transfer, lost, normalized_returns
from lifeq_jax.metrics.layers import whole_network
from lifeq_jax.report.game_plots import LearningCurve, draw_curves, draw_returns
from lifeq_jax.report.groups import slugs, told_apart
from lifeq_jax.report.layers import MEANINGS
from lifeq_jax.report.page import write_page
from lifeq_jax.report.plots import save
from lifeq_jax.report.tables import with_spread
from lifeq_jax.runs.games import GameRun


class GameGroup(NamedTuple):
    """Runs that differ in nothing but the seed."""

    label: str
    slug: str  # the label as part of a file name, unique among the groups
    runs: tuple[GameRun, ...]  # sorted by seed

    @property
    def names(self) -> tuple[str, ...]:
        """The games in their order."""
        return self.runs[0].names


class Alone(NamedTuple):
    """The results of runs that learned a game alone."""

    single: tuple[float, float]  # mean return, standard error over the seeds
    chance: tuple[float, float]  # of an agent that acts at random
    curve: np.ndarray  # (epochs,) mean return of training
    group: GameGroup

    @property
    def has_scale(self) -> bool:
        """Whether returns of the game can be normalized."""
        return beats_chance(self.single, self.chance)


def write_games_report(runs: Sequence[GameRun], out: str | Path, others: Sequence[tuple[Path, str]] = ()) -> Path:
    """Writes <out>/report.md, the PNG plots beside it and both as report.html; returns the path of report.md.

    Runs that differ only in the seed are one group, reported as mean ± sample standard deviation. Groups that learned a
    single game set the scale of normalized returns: 1 is their final return, 0 that of an agent that acts at random.
    Returns of a game are not normalized if there is no such group, if it has one seed, or if it does not beat chance by
    two standard errors. `others`: folders of unfinished runs, each with its status, to be listed. Refuses a folder that
    cannot be written, and a seed that occurs twice in one group."""
    out, groups = Path(out), group_games(runs)
    alone = _alone(groups)
    sequences = [group for group in groups if len(group.names) > 1]
    try:
        out.mkdir(parents=True, exist_ok=True)
        parts = [f"# {groups[0].label}" if len(groups) == 1 else f"# {len(groups)} recipes on games"]
        if others:
            parts += ["Not finished, and left out:", "\n".join(f"- `{folder}`: {said}" for folder, said in others)]
        parts.append(
            "Returns are sums of rewards as the games give them; mean ± sample standard deviation over n seeds."
        )
        parts += _comparison(sequences, alone) if len(sequences) > 1 else []
        parts += _single_games(alone)
        for group in groups:
            parts += _section(group, alone, out)
        path = out / "report.md"
        write_whole(path, "\n\n".join(parts) + "\n")
        write_page(path)
    except OSError as error:
        raise Refusal(f"report folder {out} cannot be written: {error.strerror}") from None
    return path


def group_games(runs: Sequence[GameRun]) -> list[GameGroup]:
    """Groups the runs that differ only in the seed, in the order in which they are given."""
    together: dict[str, list[GameRun]] = {}
    for run in runs:
        together.setdefault(to_json(dataclasses.replace(run.recipe, seed=0)), []).append(run)
    members = [tuple(sorted(group, key=lambda run: run.recipe.seed)) for group in together.values()]
    for group in members:
        for one, other in zip(group, group[1:], strict=False):
            if one.recipe.seed == other.recipe.seed:
                same = f"one recipe with seed={one.recipe.seed}"
                raise Refusal(f"{one.folder} and {other.folder} are runs of {same}; give one of them")
    recipes = [group[0].recipe for group in members]
    labels = told_apart([recipe.name for recipe in recipes], recipes)
    return [GameGroup(*each) for each in zip(labels, slugs(labels, recipes), members, strict=True)]


def _alone(groups: Sequence[GameGroup]) -> dict[str, Alone]:
    found: dict[str, Alone] = {}
    for group in groups:
        if len(group.names) > 1 or len(group.runs) < 2:
            continue
        ends = [run.matrix[0, 0] for run in group.runs]
        chances = np.array([run.chance[0] for run in group.runs])
        chance = float(chances[:, 0].mean()), float(np.sqrt((chances[:, 1] ** 2).sum()) / len(chances))
        single = float(np.mean(ends)), float(np.std(ends, ddof=1) / np.sqrt(len(ends)))
        if group.names[0] in found:
            known = found[group.names[0]].group.label
            raise Refusal(f"{group.names[0]} is learned alone by {known} and by {group.label}; give one of them")
        found[group.names[0]] = Alone(single, chance, curves_of(group, 0).mean(axis=0), group)
    return found


def curves_of(group: GameGroup, task: int) -> np.ndarray:
    """(seeds, epochs) mean return of the training games that ended in each epoch of a game; NaN: none did."""
    return np.array([run.learning.returns[run.learning.task == task] for run in group.runs])


def _over_seeds(values: Iterable[float]) -> str:
    return with_spread(*mean_and_std([float(value) for value in values]))


def _score(group: GameGroup, found: Sequence[tuple[float, float]]) -> str:
    """The mean return of (mean, standard error) of each seed; with one seed, its standard error beside it."""
    return with_spread(*found[0]) if len(group.runs) == 1 else _over_seeds(mean for mean, _ in found)


def normalized_matrix(run: GameRun, alone: Mapping[str, Alone]) -> np.ndarray | None:
    """The matrix of normalized returns; None where some game has no scale."""
    if not all(name in alone and alone[name].has_scale for name in run.names):
        return None
    single, chance = (np.array([getattr(alone[name], what)[0] for name in run.names]) for what in ("single", "chance"))
    return normalized_returns(run.matrix, single, chance)


def _comparison(groups: Sequence[GameGroup], alone: Mapping[str, Alone]) -> list[str]:
    """A row for each group that learns several games."""
    rows = []
    for group in groups:
        matrices = [normalized_matrix(run, alone) for run in group.runs]
        known = [matrix for matrix in matrices if matrix is not None]
        metrics = [continual_metrics(matrix) for matrix in known] or [dict.fromkeys(SHOWN, np.nan)]
        ends = [_over_seeds(run.matrix[-1, game] for run in group.runs) for game in range(len(group.names))]
        cells = [with_spread(*mean_and_std([one[name] for one in metrics])) for name in SHOWN]
        rows.append([group.label, group.runs[0].recipe.method.name, str(len(group.runs)), ", ".join(ends), *cells])
    header = ["recipe", "method", "n", "returns in the games at the end", *SHOWN.values()]
    return ["## At the end", markdown_table(header, rows), NORMALIZED]


SHOWN = {"average_accuracy": "average", "forgetting": "forgetting", "bwt": "backward transfer"}
NORMALIZED = (
    "Average, forgetting and backward transfer are of normalized returns N = (R - chance) / (single - chance): 0 is an "
    "agent that acts at random, 1 one that learned the game alone. Forgetting of a game is the maximum of its N over "
    "the time since it was learned, less the last; backward transfer is the last, less that when it was learned; both "
    "are means over all games but the last. Empty where some game has no scale."
)


def _single_games(alone: Mapping[str, Alone]) -> list[str]:
    if not alone:
        return ["No game was learned alone with two seeds or more, so returns are not normalized."]
    rows = [
        [
            name,
            f"{known.single[0]:.2f} ± {known.single[1]:.2f}",
            f"{known.chance[0]:.2f} ± {known.chance[1]:.2f}",
            "yes" if known.has_scale else "no: two standard errors are not between them",
            str(len(known.group.runs)),
        ]
        for name, known in alone.items()
    ]
    header = ["game", "learned alone", "chance", "has a scale", "n"]
    return ["## Games learned alone", "Mean ± standard error.", markdown_table(header, rows)]


def returns_table(group: GameGroup) -> str:
    """Mean returns in each game, of an agent that acts at random and after each game; in brackets: not learned yet."""
    names = group.names
    rows = [["chance", *(_score(group, [tuple(run.chance[j]) for run in group.runs]) for j in range(len(names)))]]
    for after in range(len(names)):
        found = [[(run.matrix[after, j], run.errors[after, j]) for run in group.runs] for j in range(len(names))]
        cells = [_score(group, each) for each in found]
        shown = [f"({cell})" if j > after else cell for j, cell in enumerate(cells)]
        rows.append([f"after game {after + 1}", *shown])
    return markdown_table(["", *names], rows)


def _section(group: GameGroup, alone: Mapping[str, Alone], out: Path) -> list[str]:
    names = group.names
    parts = [f"## {group.label}", _facts(group)]
    spread = ", ± standard error over the games of an evaluation" if len(group.runs) == 1 else ""
    parts += [f"Mean returns in each game{spread}; in brackets: not learned yet.", returns_table(group)]
    if len(names) > 1:
        parts += _forgotten(group)
    parts += _scaled_section(group, alone)
    parts += _layers(group)
    curves = [
        LearningCurve(
            name,
            run_steps(group, task),
            curves_of(group, task),
            alone[name].curve if name in alone else None,
            float(np.mean([run.chance[task, 0] for run in group.runs])),
        )
        for task, name in enumerate(names)
    ]
    caption = "returns of training games over the steps of play"
    parts.append(f"![{caption}]({save(draw_curves(curves), out / f'{group.slug}_training.png').name})")
    means = np.mean([run.matrix for run in group.runs], axis=0)
    chance = np.mean([run.chance[:, 0] for run in group.runs], axis=0)
    figure = draw_returns(names, np.vstack([chance, means]))
    return [*parts, f"![returns after each game]({save(figure, out / f'{group.slug}_returns.png').name})"]


def run_steps(group: GameGroup, task: int) -> np.ndarray:
    """(epochs,) steps of play in a game at the end of each of its epochs."""
    learning = group.runs[0].learning
    return learning.env_steps[learning.task == task]


def _forgotten(group: GameGroup) -> list[str]:
    """The forgetting of each game, compared with its spread over seeds."""
    each = np.array([lost(run.matrix) for run in group.runs])
    rows = []
    for name, values in zip(group.names, each.T, strict=False):
        mean, deviation = mean_and_std(list(values))
        error = deviation / np.sqrt(len(values))
        rows.append(
            [
                name,
                with_spread(mean, deviation),
                with_spread(error),
                with_spread(mean / error if error > 0 else np.nan, digits=1),
            ]
        )
    said = "Lost return: when the game had been learned, less at the end; se: standard error over the seeds."
    return [said, markdown_table(["game", "lost", "se", "lost / se"], rows)]


def _scaled_section(group: GameGroup, alone: Mapping[str, Alone]) -> list[str]:
    matrices = [normalized_matrix(run, alone) for run in group.runs]
    known = [matrix for matrix in matrices if matrix is not None]
    if not known or len(group.names) == 1:
        return []
    rows = []
    for after in range(len(group.names)):
        cells = [with_spread(*mean_and_std([matrix[after, j] for matrix in known])) for j in range(len(group.names))]
        rows.append([f"after game {after + 1}", *cells])
    transfer = ["forward transfer"]
    for task, name in enumerate(group.names):
        single, chance = alone[name].single[0], alone[name].chance[0]
        own = [(curve - chance) / (single - chance) for curve in curves_of(group, task)]
        reference = (alone[name].curve - chance) / (single - chance)
        transfer.append(with_spread(*mean_and_std([forward_transfer(curve, reference) for curve in own])))
    text = "Normalized returns; forward transfer: area under the training curve against that of learning alone."
    return [text, markdown_table(["", *group.names], [*rows, transfer])]


def _layers(group: GameGroup) -> list[str]:
    if not all(run.layers for run in group.runs):
        return []
    rows = []
    for task, name in enumerate(group.names):
        each = [whole_network(run.layers[task]) for run in group.runs if task in run.layers]
        cells = [with_spread(*mean_and_std([100 * one[quantity] for one in each])) for quantity in MEANINGS]
        rows.append([name, *cells])
    said = (
        "Capacity used, the share of all bits that are frozen, and dead units, whose incoming weights are all 0, in %."
    )
    return [said, markdown_table(["after", "capacity used", "dead units"], rows)]


def _facts(group: GameGroup) -> str:
    recipe, run = group.runs[0].recipe, group.runs[0]
    arguments = ", ".join(f"{name}={value}" for name, value in recipe.method.args.items())
    games, stage = recipe.games, recipe.stages[-1]
    steps = stage.epochs * games.updates * games.num_envs * games.rollout_steps
    speed = np.concatenate([one.learning.steps_per_second for one in group.runs])
    parts = np.concatenate([one.learning.parts for one in group.runs])
    lines = [
        f"games: {', '.join(group.names)}; {steps:,} steps of play each",
        f"method: {recipe.method.name}" + (f" ({arguments})" if arguments else ""),
        f"network: {recipe.model.name}, weights {stage.weight_bits} bits, activations {stage.act_bits}",
        f"evaluation: {games.episodes} games, {'most probable' if games.greedy else 'drawn'} actions",
        f"seeds: {', '.join(str(one.recipe.seed) for one in group.runs)}",
        f"time of a run: {np.mean([one.seconds for one in group.runs]):.0f} s, of it the method's work between games "
        f"{np.mean([one.method_seconds for one in group.runs]):.0f} s",
        f"steps of play per second, learning included: {np.median(speed):.0f} (median over epochs)",
    ]
    if np.isfinite(parts).all():
        shares, rates = parts.sum(axis=0) / parts.sum(), steps // stage.epochs * len(parts) / parts.sum(axis=0)
        names = ("acting", "waiting for the game", "learning")
        said = [f"{name} {share:.0%} ({rate:,.0f})" for name, share, rate in zip(names, shares, rates, strict=True)]
        lines.append(f"time (steps of play per second of it): {', '.join(said)}")
    lines += [f"commit: {run.commit}", f"machine: {run.machine}"]
    lines.append(f"folders: {', '.join(f'`{one.folder}`' for one in group.runs)}")
    return "\n".join(f"- {line}" for line in lines)

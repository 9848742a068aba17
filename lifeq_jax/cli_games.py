"""The command line for runs on games: `train`, `eval` and `report` of such runs, and `render`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lifeq_jax.cli_parser import add_command
from lifeq_jax.core.game_recipe import GameRecipe, read_any
from lifeq_jax.core.refusal import Refusal


def add_playing(command: argparse.ArgumentParser) -> None:
    """The options of how an agent plays."""
    command.add_argument("--seed", type=int, default=0, help="of what the games and the agent draw")
    command.add_argument(
        "--drawn", action="store_true", help="actions drawn from the policy, whatever the recipe's evaluations do"
    )


def add_render(commands) -> None:
    """Adds `render`."""
    render = add_command(commands, "render", _render, "film how the agent of a run plays one of its games")
    render.add_argument("run", type=Path, help="run folder")
    render.add_argument("--task", type=int, required=True, help="the game, from 0 in the recipe's order")
    render.add_argument("--out", type=Path, default=Path("agent.gif"), help="GIF file of the film")
    render.add_argument("--stage", help="stage of the chain (default: the last)")
    render.add_argument(
        "--after-task", type=int, help="the agent of the end of this game, from 0, where the recipe has keep='task'"
    )
    render.add_argument("--steps", type=int, default=1000, help="steps to show at most")
    add_playing(render)


def _render(options: argparse.Namespace) -> None:
    from lifeq_jax.rl.look import observations, read_agent
    from lifeq_jax.rl.render import write_film

    agent = read_agent(options.run, options.task, options.stage, options.after_task)
    _print_notes(agent.notes)
    seen = observations(agent, options.steps, options.seed, options.drawn)
    frames = write_film(seen, agent.name, options.out)
    print(f"film of {agent.name}, {frames} steps: {options.out}")


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}")


def eval_game(options: argparse.Namespace) -> None:
    """`eval` of a run on games."""
    from lifeq_jax.rl.look import read_agent, score_agent

    for name in ("csv", "root"):
        if getattr(options, name) is not None:
            raise Refusal(f"--{name} is of images, and the tasks of {options.run} are games")
    if options.task is None:
        raise Refusal("--task is missing: the game, from 0 in the recipe's order")
    if options.episodes < 2:
        raise Refusal(f"--episodes {options.episodes} is too few; choose 2 or more")
    agent = read_agent(options.run, options.task, options.stage, options.after_task)
    _print_notes(agent.notes)
    scores = score_agent(agent, options.episodes, options.seed, options.drawn)
    bits = f"weights {agent.stage.weight_bits} bits, activations {agent.stage.act_bits}"
    print(f"stage {agent.stage.name} ({bits}), {agent.name}, {options.episodes} games")
    print(f"return {scores.mean:.3f} ± {scores.error:.3f} (standard error)   steps {scores.steps.mean():.1f}")
    print(f"from {scores.returns.min():g} to {scores.returns.max():g}; {scores.finished.sum()} games ended")


def layers_of_games(recipe: GameRecipe) -> Mapping[str, Any]:
    """The bits of every layer in the last stage."""
    from lifeq_jax.rl.build import layer_bits

    return layer_bits(recipe, recipe.stages[-1])


def run_one_of_games(recipe: GameRecipe, folder: Path) -> None:
    """Trains one seed and prints its result."""
    from lifeq_jax.rl.run import run_games

    print(f"run folder: {folder}")
    _show(folder, run_games(recipe, folder))


def _show(folder: Path, summary: Mapping[str, Any]) -> None:
    from lifeq_jax.runs.games import read_returns

    matrix, names = read_returns(folder), summary["games"]
    print(f"\nmean returns (row: after game i, column: in game j) ± standard error  {folder}/return_matrix.csv")
    width = max(14, *map(len, names))
    print(" " * 9 + "  ".join(f"{name:>{width}s}" for name in names))
    for label, row, errors in [
        ("random", *zip(*summary["random"], strict=True)),
        *((f"after {number}", *pair) for number, pair in enumerate(zip(matrix, summary["errors"], strict=True), 1)),
    ]:
        cells = (f"{f'{mean:.2f} ± {error:.2f}':>{width}s}" for mean, error in zip(row, errors, strict=True))
        print(f"{label:9s}" + "  ".join(cells))
    if "capacity" in summary["metrics"]:
        used, dead = (100 * summary["metrics"][name] for name in ("capacity", "dead_units"))
        print(f"capacity used {used:.2f} %   dead units {dead:.2f} %")


def show_seeds_of_games(folder: Path, content: Mapping[str, Any]) -> None:
    """Prints the result of several seeds."""
    print(f"\nseeds {', '.join(map(str, content['seeds']))}: mean ± sample standard deviation  {folder}/seeds.json")
    for name, found in content["metrics"].items():
        spread = "" if found["std"] is None else f" ± {found['std']:.3f}"
        print(f"  {name:32s} {found['mean']:8.3f}{spread}")


def are_games(folders: Sequence[Path]) -> bool:
    """Whether the runs of run folders, or folders of seeds, are on games. Refuses a mixture."""
    from lifeq_jax.runs.folder import CONFIG, seed_folders

    runs = [run for folder in folders for run in (*seed_folders(folder).values(), folder) if (run / CONFIG).exists()]
    kinds = {isinstance(read_any(run / CONFIG), GameRecipe) for run in runs}
    if len(kinds) > 1:
        raise Refusal("some of the runs are on images and some on games; give those of one kind")
    return kinds == {True}


def report_games(folders: Sequence[Path], out: Path) -> tuple[Path, list[tuple[Path, str]]]:
    """`report` of runs on games: report.md, and the runs that are not finished, each with its status."""
    from lifeq_jax.report.games import write_games_report
    from lifeq_jax.runs.games import read_game_runs

    runs, others = read_game_runs(folders)
    return write_games_report(runs, out, others), others

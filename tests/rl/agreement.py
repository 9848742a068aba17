"""The actions of agents before and after a method's work at the end of a game, state by state.

python -m tests.rl.agreement blip_rl/minatar_pair --games.names minatar/breakout"""

import sys
import tempfile
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np

from lifeq_jax.cli_keys import override
from lifeq_jax.core.game_recipe import GameRecipe, load_any
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.methods.head import is_head
from lifeq_jax.rl import tasks
from lifeq_jax.rl.build import evaluate_of
from lifeq_jax.rl.heads import head_of, logits_of
from lifeq_jax.rl.rollout import pixels
from lifeq_jax.rl.run import run_games

ROLLOUTS = 4


class Agreement(NamedTuple):
    """What the end of one game changes."""

    states: int  # of the agent's own play before it
    same: float  # share of them with the same most probable action
    largest: float  # change of a logit
    changed: float  # share of the weights below the heads
    moved: float  # sum of their absolute changes, as a share of the sum of their magnitudes


def agreements(recipe: GameRecipe) -> list[Agreement]:
    """Learns the games of a recipe; the agreement at the end of each."""
    found, conclude = [], tasks.concluded

    def concluded(stage: Any, seed: Any, saved: Any, progress: Any, is_final: bool) -> Any:
        before = jax.device_get(saved.state.params)
        result = conclude(stage, seed, saved, progress, is_final)
        head, evaluate = head_of(seed.world.heads, progress.task), evaluate_of(stage.network)
        played = stage.players[progress.task].examples(before, head, jax.random.key(0), ROLLOUTS)
        image = np.concatenate([image for image, _ in played])
        pair = before, jax.device_get(result[0].state.params)
        own = np.flatnonzero(np.asarray(head.classes))
        old, new = (np.asarray(logits_of(evaluate(params, pixels(image)), head))[:, own] for params in pair)
        old_weights, new_weights = (
            np.concatenate([leaf.ravel() for name, leaf in named_leaves(params).items() if not is_head(name)])
            for params in pair
        )
        found.append(
            Agreement(
                states=len(image),
                same=float((old.argmax(1) == new.argmax(1)).mean()),
                largest=float(np.abs(old - new).max()),
                changed=float((old_weights != new_weights).mean()),
                moved=float(np.abs(old_weights - new_weights).sum() / np.abs(old_weights).sum()),
            )
        )
        return result

    with mock.patch.object(tasks, "concluded", concluded), tempfile.TemporaryDirectory() as folder:
        run_games(recipe, f"{folder}/run", lambda line: None)
    return found


if __name__ == "__main__":
    loaded: Any = load_any(sys.argv[1])
    for one in agreements(override(loaded, sys.argv[2:])):
        print(one)

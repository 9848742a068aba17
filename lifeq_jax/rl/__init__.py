"""Games by name, and agents that learn them one after the other by proximal policy optimization."""

from collections.abc import Callable

from lifeq_jax.core.lookup import lookup
from lifeq_jax.rl import ale, catch, minatar
from lifeq_jax.rl.games import Emulator, Game, Shape

GAMES: dict[str, Callable[[str, Shape], Game | Emulator]] = {
    "atari": ale.atari_game,
    "catch": catch.catch,
    "minatar": minatar.minatar_game,
}


def make_game(name: str, shape: Shape) -> Game | Emulator:
    """The game `family/name`, e.g. minatar/breakout, with observations of `shape` (H, W, C).

    Refuses names that are unknown, shapes that the game does not have, and families whose package is not installed."""
    family, _, own = name.partition("/")
    return lookup(GAMES, family, "games.names: family")(own, shape)

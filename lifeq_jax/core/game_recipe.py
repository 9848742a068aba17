"""The schema of a recipe whose tasks are games, and the reading of recipes of either kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lifeq_jax.core.config import Checked, Optimizer, Part, Recipe, Stage, read_config, recipe_of, replaced
from lifeq_jax.core.recipe_file import find_recipe
from lifeq_jax.core.refusal import Refusal


@dataclass(frozen=True)
class Games(Checked):
    """The games in their order, how they are played, and the constants of proximal policy optimization (PPO).

    Of each game a stage trains epochs * updates * num_envs * rollout_steps steps."""

    LIMITS = {
        "image": (1, 1024), "num_envs": (1, 65_536), "rollout_steps": (2, 1_000_000), "updates": (1, 1_000_000_000),
        "passes": (1, 1000), "minibatches": (1, 65_536), "gamma": (0, 1), "gae_lambda": (0, 1), "clip": (1e-9, 1e9),
        "value_coef": (0, 1e9), "entropy_coef": (0, 1e9), "episodes": (2, 65_536), "max_steps": (1, 1_000_000_000),
    }  # fmt: skip

    names: tuple[str, ...]
    """family/name, e.g. minatar/breakout or atari/boxing; the families are the rows of GAMES."""
    image: tuple[int, int, int]
    """Height, width and channels of an observation; the original uses (84, 84, 4) for Atari."""
    updates: int
    """Rollouts of an epoch, each followed by PPO's passes over it. An epoch begins with new games."""
    num_envs: int = 16
    """Copies of a game that are played at once."""
    rollout_steps: int = 125
    """Steps of each copy in a rollout."""
    passes: int = 4
    """Passes over a rollout: PPO's epochs."""
    minibatches: int = 8
    """Minibatches of a pass."""
    gamma: float = 0.99
    """Discount of a reward one step later."""
    gae_lambda: float = 0.95
    """Lambda of the generalized advantage estimates."""
    clip: float = 0.1
    """Clipping range of the probability ratio around 1, and of a value around its old prediction."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 0.01
    """Weight of the policy's entropy."""
    clip_value: bool = True
    """Whether the value loss is clipped too."""
    clip_reward: bool = True
    """Whether the agent learns from the sign of each reward; reported returns sum the rewards themselves."""
    episodes: int = 10
    """Whole games that an evaluation plays, each in its own environment."""
    max_steps: int = 27_000
    """Steps after which an evaluation stops a game that has not ended; 27,000 are 30 minutes of Atari."""
    greedy: bool = True
    """Whether an evaluation takes the most probable action; false: one drawn from the policy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.names:
            raise Refusal("games.names=() is empty; name at least one game")
        if len(set(self.names)) != len(self.names):
            raise Refusal(f"games.names={self.names!r} names a game twice")
        if self.num_envs * self.rollout_steps < self.minibatches:
            raise Refusal(
                f"games.minibatches={self.minibatches} is more than a rollout has steps, "
                f"{self.num_envs * self.rollout_steps}"
            )


@dataclass(frozen=True)
class GameRecipe(Checked):
    """A whole experiment whose tasks are games: games, network, stages, method."""

    LIMITS = {
        "seed": (0, 2**31 - 1), "evaluate_every": (0, 1_000_000), "checkpoint_every": (1, 1_000_000),
        "importance_rollouts": (1, 1_000_000),
    }  # fmt: skip

    name: str
    """Name in reports and of the default run folder."""
    games: Games
    model: Part
    stages: tuple[Stage, ...]
    weight_quantizer: Part = field(default_factory=lambda: Part("proxq"))
    act_quantizer: Part = field(default_factory=lambda: Part("activation"))
    quant_setup: str = "convolutions"
    """Where quantizers stand and which layers have bits of their own: row of SETUPS."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the operands of convolutions and matrix products before the classifier."""
    method: Part = field(default_factory=lambda: Part("finetune"))
    importance_rollouts: int = 1
    """Rollouts of a finished game that a method sees, played by the finished agent."""
    optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(kind="adam", epsilon=1e-5, schedule="linear", weight_decay=0.0, max_norm=0.5)
    )
    seed: int = 0
    """Seed of initialization, of the games and of the agent's actions."""
    evaluate_every: int = 1
    """Epochs between evaluations on all games; 0: only at the end of a game."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; one is always written at the end of a game."""
    keep: Literal["last", "task"] = "last"
    """Networks that stay in the run folder: of every stage the last, or also that of the end of every game."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stages:
            raise Refusal("recipe.stages=() is empty; name at least one stage")
        if len({stage.name for stage in self.stages}) != len(self.stages):
            raise Refusal(f"recipe.stages have repeated names: {', '.join(stage.name for stage in self.stages)}")
        for stage in self.stages:
            if stage.tasks > len(self.games.names):
                raise Refusal(f"stage.tasks={stage.tasks} of {stage.name!r} exceeds the {len(self.games.names)} games")
        if self.optimizer.patience:
            raise Refusal(f"optimizer.patience={self.optimizer.patience} needs a validation loss, which games have not")

    def replace(self, values: Mapping[str, Any]) -> "GameRecipe":
        """A copy of this recipe with other values at some dotted keys, as `Recipe.replace`."""
        return replaced(self, values)


def check_kind(recipe: Any, kind: type[Checked], instead: str) -> None:
    """Refuses what is no recipe of this kind; `instead` says what takes the other."""
    if not isinstance(recipe, kind):
        raise Refusal(f"recipe is a {type(recipe).__name__}, not a {kind.__name__}; {instead}")


def load_any(place: str | Path) -> Recipe | GameRecipe:
    """The recipe at a place, of images or of games. Refuses what `load_recipe` refuses.

    Example:
        >>> lq.load_recipe("lifequant/resnet20_digits").model.name
        'resnet20'
        >>> lq.load_recipe("blip_rl/minatar_pair").games.names
        ('minatar/breakout', 'minatar/space_invaders')
    """
    return find_recipe(place, Recipe, GameRecipe)


def read_any(path: Path) -> Recipe | GameRecipe:
    """The recipe, of images or of games, in a run folder's config.json. Refuses what `read_recipe` refuses."""
    plain = read_config(path)
    return recipe_of(plain, GameRecipe, path) if "games" in plain else recipe_of(plain, Recipe, path)

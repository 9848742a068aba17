"""Names and columns of the CSV files of a run folder. docs/formats.md says what they mean."""

from lifeq_jax.metrics.oscillation import BINS

METRICS, DISTANCES, CLASSES, LAYERS = "metrics.csv", "weight_distance.csv", "per_class.csv", "layers.csv"
CONFUSION = "confusion.csv"

ACCURACIES = ("accuracy", "balanced_accuracy", "running_accuracy")  # of metrics.csv, a column for each task
OSCILLATIONS = ("oscillating", "frozen")
CLASS_COLUMNS = ("stage", "after", "task", "class", "train_images", "images", "correct")
CONFUSION_COLUMNS = ("stage", "after", "task", "class", "predicted", "images")
LAYER_COLUMNS = ("stage", "after", "layer", "quantity", "value")
DISTANCE_COLUMNS = ("stage", "task", "epoch", *(f"bin_{number}" for number in range(BINS)))


def metric_columns(num_tasks: int) -> tuple[str, ...]:
    """The columns of metrics.csv of a sequence of `num_tasks` tasks."""
    return (
        *("stage", "task", "epoch", "step", "loss", "penalty", "train_accuracy", "learning_rate"),
        *("images_per_second", "state_megabytes"),
        *(f"{kind}_{task}" for kind in ACCURACIES for task in range(num_tasks)),
        *OSCILLATIONS,
    )


def file_columns(num_tasks: int) -> dict[str, tuple[str, ...]]:
    """{name: columns} of the CSV files that grow while a sequence of tasks is trained."""
    return {
        METRICS: metric_columns(num_tasks),
        DISTANCES: DISTANCE_COLUMNS,
        CLASSES: CLASS_COLUMNS,
        CONFUSION: CONFUSION_COLUMNS,
        LAYERS: LAYER_COLUMNS,
    }


SCORES = "scores.csv"
SCORE_COLUMNS = ("stage", "after", "game", "episodes", "finished", "return", "error", "steps")
LEARNING = (  # of metrics.csv, measured by PPO and the games in an epoch
    *("policy_loss", "value_loss", "entropy", "clipped", "games", "return"),
    *("steps_per_second", "acting_seconds", "waiting_seconds", "learning_seconds"),
)
RETURNS = ("return", "error")  # of metrics.csv, a column for each game


def game_columns(num_games: int) -> dict[str, tuple[str, ...]]:
    """{name: columns} of the CSV files that grow while a sequence of games is learned."""
    metrics = (
        *("stage", "task", "epoch", "step", "env_steps", "loss", "penalty", "learning_rate", *LEARNING),
        "state_megabytes",
        *(f"{kind}_{task}" for kind in RETURNS for task in range(num_games)),
    )
    return {METRICS: metrics, SCORES: SCORE_COLUMNS, LAYERS: LAYER_COLUMNS}


def matrix_columns(num_tasks: int) -> tuple[str, ...]:
    """The columns of accuracy_matrix.csv, of the tasks of the last stage."""
    return tuple(f"task_{task}" for task in range(num_tasks))

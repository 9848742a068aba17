"""What a run folder's stage has reached, for those that read it: evaluation, and runs that start from it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lifeq_jax.core.game_recipe import read_any
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.folder import CONFIG, status
from lifeq_jax.train.checkpoint import Checkpoints, Progress, has_checkpoint


@contextmanager
def reached(folder: Path, stage: str | None = None, record: Any = Progress) -> Iterator[Checkpoints]:
    """The checkpoints of a run folder's stage (by default its last), of which the newest whole one is read; `record`
    as in Checkpoints.

    Raises:
        Refusal: the stage has not begun, no checkpoint is whole, or the stage was trained to its end and the
            checkpoint of that is gone."""
    names = [item.name for item in read_any(folder / CONFIG).stages]
    if stage is not None and stage not in names:
        raise Refusal(f"run folder {folder} has no stage {stage!r}; choose from {', '.join(names)}")
    name = stage or names[-1]
    path = folder / "checkpoints" / name
    if not has_checkpoint(path):
        raise Refusal(f"{path} holds no checkpoint: this stage of the run has not begun")
    later = names[names.index(name) + 1 :]
    is_over = status(folder) == "finished" or any(has_checkpoint(path.parent / other) for other in later)
    with closing(Checkpoints(path, record)) as checkpoints:
        if is_over and not checkpoints.is_done():
            raise Refusal(
                f"{path}: the stage was trained to its end, and the checkpoint of that is gone or damaged; what is "
                f"left is {checkpoints.place()}"
            )
        yield checkpoints


def notes(checkpoints: Checkpoints) -> list[str]:
    """What a reader has to know of the checkpoint in use, a line each."""
    said = [] if checkpoints.is_done() else [f"the stage is not finished; this is {checkpoints.place()}"]
    damaged = checkpoints.note()
    return said if damaged is None else [damaged, *said]

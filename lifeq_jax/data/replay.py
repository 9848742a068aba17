"""The rows of each task that are kept for the tasks after it."""

from pathlib import Path

from lifeq_jax.data.sampling import as_fraction, sample_rows
from lifeq_jax.data.tables import read_image_table, select_rows, task_csv, write_table


def make_replay(prefix: Path, *, num_tasks: int, rate: float = 0.2, seed: int = 123) -> tuple[int, ...]:
    """Writes `<prefix>_replay{i}.csv`, a share `rate` (0.2 and 20 both mean 20 %) of `<prefix>_train{i}.csv`.

    Returns the rows kept of each task; a small task may keep none. Not stratified: a class may be missing.
    Source: LifeQuant replayDataGeneator.py. Refuses a missing or broken train CSV before it writes
    anything."""
    fraction = as_fraction(rate, "replay rate")
    trains = [read_image_table(task_csv(prefix, "train", task)) for task in range(num_tasks)]
    kept = [select_rows(train, sample_rows(len(train.path), fraction, seed)) for train in trains]
    for task, table in enumerate(kept):
        write_table(task_csv(prefix, "replay", task), table)
    return tuple(len(table.path) for table in kept)

"""Class counts of a task's training data, and BaLL's weights from them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lifeq_jax.core.files import write_whole
from lifeq_jax.data.tables import Task, concat_tables, load_tasks


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """1 / ((n_c / N + 1 / C) C) for the C classes that are present, all of `counts` (C,) above 0; float32
    (C,).

    N is the sum of the counts. Holds: 1/2 where the classes are balanced, always below 1, larger for rarer
    classes. Source: LifeQuant count_classes.py."""
    number = np.asarray(counts, np.float32)
    classes = np.float32(len(number))
    return 1 / ((number / number.sum() + 1 / classes) * classes)


def write_counts(prefix: Path, num_tasks: int) -> tuple[Path, ...]:
    """Writes `reweight_{i}.json` into the folder of the CSVs: counts and weights over train_i and replay_0 ..
    replay_{i-1}.

    The file holds {"counts": {"<class>": images}, "weights": {"<class>": weight}} for the classes that are
    present. Returns the paths. Refuses what `load_tasks` refuses, with replay where there are several tasks, before it
    writes anything."""
    tasks = load_tasks(prefix, num_tasks, root=None, num_classes=None, replay=num_tasks > 1)
    texts = [json.dumps(_of_task(tasks, task), indent=1) + "\n" for task in range(num_tasks)]
    paths = tuple(Path(prefix).parent / f"reweight_{task}.json" for task in range(num_tasks))
    for path, text in zip(paths, texts, strict=True):
        write_whole(path, text)
    return paths


def _of_task(tasks: Sequence[Task], task: int) -> dict[str, dict[str, float]]:
    replays = [old.replay for old in tasks[:task] if old.replay is not None]
    rows = concat_tables([tasks[task].train, *replays])
    classes, counts = np.unique(rows.label, return_counts=True)
    names = [str(label) for label in classes]
    return {
        "counts": dict(zip(names, counts.tolist(), strict=True)),
        "weights": dict(zip(names, balanced_weights(counts).tolist(), strict=True)),
    }

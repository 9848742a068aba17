"""A head for each task: which outputs of the network belong to which class of which task."""

from collections.abc import Sequence

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.tables import ImageTable

ABSENT = -1

Heads = np.ndarray  # (T, K) int32: class c of task t is output heads[t, c]; ABSENT where the task has no such class


def heads_of(tables: Sequence[ImageTable], num_outputs: int) -> Heads:
    """The outputs of every task's classes: tasks in their order, the classes of each train table sorted by label.

    A class of several tasks gets an output in each. Refuses tables whose number of classes, summed over tasks, is not
    `num_outputs`."""
    heads = np.full((len(tables), num_outputs), ABSENT, np.int32)
    classes = [np.unique(table.label) for table in tables]
    total = sum(map(len, classes))
    if total != num_outputs:
        each = ", ".join(str(len(labels)) for labels in classes)
        raise Refusal(
            f"data.num_classes={num_outputs} is not the number of outputs of all heads, {total}: the tasks have {each} "
            "classes (data.heads='per_task')"
        )
    first = 0
    for head, labels in zip(heads, classes, strict=True):
        head[labels] = first + np.arange(len(labels))
        first += len(labels)
    return heads


def to_outputs(heads: Heads, task: int, table: ImageTable, name: str) -> ImageTable:
    """`table` of task `task` with outputs as labels; refuses a class that the task's training rows lack."""
    output = heads[task][table.label]
    missing = np.unique(table.label[output == ABSENT])
    if len(missing):
        raise Refusal(
            f"{name}: class {missing[0]} of task {task} is not among its training classes, so it has no output "
            "(data.heads='per_task')"
        )
    return table._replace(label=output)


def head_masks(heads: Heads) -> np.ndarray:
    """(T, K) bool: whether output k is of task t's head."""
    num_outputs = heads.shape[1]
    return np.array([np.isin(np.arange(num_outputs), head[head != ABSENT]) for head in heads])

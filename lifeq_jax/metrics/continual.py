"""Continual-learning metrics of an accuracy matrix.

A metric takes `matrix`, the accuracies A, (T, T): A[i, j] is the accuracy on the test set of task j after training task
i. It returns a number in the unit of A, and refuses a matrix that is not square, is empty, or is not finite on or below
the diagonal. Entries above the diagonal (j > i, a task not trained yet) may hold anything, NaN too; only `fwt` reads
them. Formulas count tasks from 1 to T, as in the papers; arrays from 0. Papers use one name for several formulas; here
each has its own name."""

from collections.abc import Callable, Sequence

import numpy as np

from lifeq_jax.core.refusal import Refusal


def check_matrix(matrix: np.ndarray) -> np.ndarray:
    """Returns A as float64; refuses one not square, empty, or not finite on or below the diagonal."""
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise Refusal(f"the accuracy matrix has shape {matrix.shape}; it must be (T, T) with T >= 1")
    broken = np.argwhere(~np.isfinite(matrix) & np.tri(len(matrix), dtype=bool))
    if broken.size:
        after, task = broken[0]
        entry = f"{matrix[after, task]} after task {after} on task {task}"
        raise Refusal(f"the accuracy matrix holds {entry}; it must be finite")
    return matrix


def change_per_task(matrix: np.ndarray) -> np.ndarray:
    """(T,) A[T, j] - A[j, j]: change of a task's accuracy since it was trained, negative where it was forgotten."""
    matrix = check_matrix(matrix)
    return matrix[-1] - np.diag(matrix)


def forgetting_per_task(matrix: np.ndarray) -> np.ndarray:
    """(T,) max over i >= j of A[i, j], minus A[T, j]: never negative, 0 for the last task."""
    matrix = check_matrix(matrix)
    trained = np.tri(len(matrix), dtype=bool)
    return np.max(matrix, axis=0, where=trained, initial=-np.inf) - matrix[-1]


def _mean_of_old(per_task: np.ndarray) -> float:
    """Mean over the tasks before the last; 0.0 where there is only one."""
    return float(per_task[:-1].mean()) if len(per_task) > 1 else 0.0


def average_accuracy(matrix: np.ndarray) -> float:
    """1/T sum_j A[T, j].

    Mean over all tasks at the end: ACC of GEM (Lopez-Paz and Ranzato 2017) and of BLIP
    (`print_log_acc_bwt`).

    Example:
        >>> lq.metrics.average_accuracy(matrix=np.array([[1.0, 0.0], [0.5, 0.75]]))
        0.625
    """
    return float(check_matrix(matrix)[-1].mean())


def learning_accuracy(matrix: np.ndarray) -> float:
    """1/T sum_j A[j, j].

    How well each task is learned at its own time: LA of MER (Riemer et al. 2019).

    Example:
        >>> lq.metrics.learning_accuracy(matrix=np.array([[1.0, 0.0], [0.5, 0.75]]))
        0.875
    """
    return float(np.diag(check_matrix(matrix)).mean())


def bwt(matrix: np.ndarray) -> float:
    """1/(T-1) sum_{j < T} (A[T, j] - A[j, j]); 0 for one task.

    Backward transfer of GEM (Lopez-Paz and Ranzato 2017), as Mammoth reports it; negative is forgetting.

    Example:
        >>> lq.metrics.bwt(matrix=np.array([[1.0, 0.0], [0.5, 0.75]]))
        -0.5
    """
    return _mean_of_old(change_per_task(matrix))


def bwt_over_all(matrix: np.ndarray) -> float:
    """1/T sum_j (A[T, j] - A[j, j]); 0 for one task.

    BLIP's BWT (`utils.py::print_log_acc_bwt`): the last task's 0 counts in the mean, so it is (T-1)/T of
    `bwt`.

    Example:
        >>> lq.metrics.bwt_over_all(matrix=np.array([[1.0, 0.0], [0.5, 0.75]]))
        -0.25
    """
    return float(change_per_task(matrix).mean())


def forgetting(matrix: np.ndarray) -> float:
    """1/(T-1) sum_{j < T} (max_{i >= j} A[i, j] - A[T, j]); 0 for one task.

    The form of Mammoth: the end counts in the maximum, so it is never negative. Chaudhry et al. 2018 (RWalk)
    take the maximum over i < T only; the two differ for a task that is at its best at the end.

    Example:
        >>> lq.metrics.forgetting(matrix=np.array([[1.0, 0.0], [0.5, 0.75]]))
        0.5
    """
    return _mean_of_old(forgetting_per_task(matrix))


def first_minus_last(matrix: np.ndarray) -> float:
    """1/(T-1) sum_{j < T} (A[j, j] - A[T, j]); 0 for one task.

    Avalanche's forgetting of a task, first recorded minus last, averaged as in GEM. It equals -`bwt`, so it can be
    negative.

    Example:
        >>> lq.metrics.first_minus_last(matrix=np.array([[1.0, 0.0], [0.5, 0.75]]))
        0.5
    """
    return _mean_of_old(-change_per_task(matrix))


def fwt(matrix: np.ndarray, untrained: Sequence[float]) -> float:
    """1/(T-1) sum_{j > 1} (A[j-1, j] - b[j]); 0 for one task.

    Forward transfer of GEM (Lopez-Paz and Ranzato 2017): accuracy on a task just before it is trained, minus b, (T,),
    the accuracy on each task before any training. Reads A above the diagonal, and refuses entries there that are not
    finite."""
    matrix, before = check_matrix(matrix), np.asarray(untrained, np.float64)
    ahead = np.diag(matrix, k=1)
    if before.shape != matrix.shape[:1] or not (np.isfinite(ahead).all() and np.isfinite(before).all()):
        raise Refusal(f"forward transfer over {len(matrix)} tasks needs a finite accuracy of each before it is trained")
    return float(np.mean(ahead - before[1:])) if len(ahead) else 0.0


CONTINUAL: dict[str, Callable[[np.ndarray], float]] = {
    "average_accuracy": average_accuracy,
    "learning_accuracy": learning_accuracy,
    "forgetting": forgetting,
    "bwt": bwt,
    "bwt_over_all": bwt_over_all,
    "first_minus_last": first_minus_last,
}


def continual_metrics(matrix: np.ndarray) -> dict[str, float]:
    """Every row of CONTINUAL for one accuracy matrix."""
    return {name: metric(matrix) for name, metric in CONTINUAL.items()}


def formula(name: str) -> str:
    """The formula of one row of CONTINUAL: the first line of its docstring, without the full stop."""
    return (CONTINUAL[name].__doc__ or name).splitlines()[0].rstrip(".")


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); of a single value the deviation is NaN."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), deviation

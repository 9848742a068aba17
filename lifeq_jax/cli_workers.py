"""Workers of a sweep or a search: the same command as Slurm jobs, by submitit."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lifeq_jax.core.refusal import Refusal

DAY = 24 * 60
SETTINGS = {"timeout_min": DAY}  # submitit's own default is five minutes


def run_workers(words: Sequence[str], folder: Path, number: int, settings: str) -> None:
    """Runs `lifeq-jax <words>` as `number` Slurm jobs, or as processes of this machine where there is no Slurm; returns
    when all have ended. Their output is in `folder`.

    Args:
        words: the command.
        folder: of submitit's files; on a file system that all machines share.
        number: of jobs, 1 or more.
        settings: `name=value,...` of submitit's `update_parameters`, as slurm_partition=gpu,gpus_per_node=1.

    Raises:
        Refusal: submitit is not installed, a setting is not one of submitit's, or a job failed."""
    try:
        import submitit
    except ImportError:
        raise Refusal("--slurm needs submitit; pip install 'lifeq_jax[search]'") from None
    from tqdm import tqdm

    if number < 1:
        raise Refusal(f"--slurm {number} is out of range; choose 1 or more")
    executor = submitit.AutoExecutor(folder)
    try:
        executor.update_parameters(**SETTINGS | _parsed(settings))
    except (NameError, ValueError, TypeError) as error:
        raise Refusal(f"--slurm-settings {settings}: {str(error).splitlines()[0]}") from None
    jobs = [executor.submit(subprocess.call, [sys.executable, "-m", "lifeq_jax", *words]) for _ in range(number)]
    print(f"{number} x {type(jobs[0]).__name__}: {', '.join(job.job_id for job in jobs)}  {folder}")
    for job in tqdm(submitit.helpers.as_completed(jobs), total=number, desc="jobs", unit="job"):
        if job.exception() or job.result():
            said = (job.stderr() or "").strip().splitlines()
            raise Refusal(f"job {job.job_id} failed: {said[-1] if said else 'it was ended'}; see {job.paths.stderr}")


def _parsed(settings: str) -> dict[str, Any]:
    pairs = [pair.partition("=") for pair in settings.split(",") if pair]
    for name, equals, _ in pairs:
        if not equals:
            raise Refusal(f"--slurm-settings {settings} has no value for {name}; write name=value,name=value")
    return {name: int(value) if value.isdigit() else value for name, _, value in pairs}

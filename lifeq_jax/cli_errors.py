"""Errors outside of the program itself, reported in one line: signals, the operating system, the device.

Only this file knows the messages of libraries. An exception that it does not know is a bug and keeps its traceback."""

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from lifeq_jax.cli_processes import lost_others
from lifeq_jax.core.refusal import Diverged, Refusal

EXIT_REFUSED, EXIT_FAILED, EXIT_INTERRUPTED = 2, 1, 130
INTERRUPTED = "interrupted; the same command resumes a run at its last checkpoint"
JAX_NAMES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_ENABLE_X64", "XLA_FLAGS")
OS_ERROR = re.compile(r"os_error_code='(\d+)'")  # in messages of TensorStore, which writes checkpoints
LIBRARY_FILE = re.compile(r'local file "([^"]*?)(?:\.orbax-checkpoint-tmp[^"]*)?"')


def error_line(
    error: BaseException, batch_size: int | None = None, folder: Path | None = None
) -> tuple[str, int] | None:
    """The line and the exit code of an exception; None for a bug.

    `batch_size` and `folder` are those of the run in training, if there is one."""
    if isinstance(error, Refusal):
        return str(error), EXIT_REFUSED
    if isinstance(error, Diverged):
        return str(error), EXIT_FAILED
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, EXIT_INTERRUPTED
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return _out_of_memory(batch_size), EXIT_FAILED
    if line := lost_others(error):
        return line, EXIT_FAILED
    reason = _of_the_system(error, "a file" if folder is None else f"run folder {folder}")
    return None if reason is None else (reason, EXIT_REFUSED)


def _out_of_memory(batch_size: int | None) -> str:
    if not batch_size:
        return "memory is used up"
    smaller = max(batch_size // 2, 1)
    return (
        f"the device's memory is used up with data.batch_size={batch_size}; try --data.batch-size {smaller}, or "
        "--data.input pipeline, which keeps no images on the device"
    )


def _of_the_system(error: BaseException, unnamed: str) -> str | None:
    """The system error in an exception, or in a library's exception that wraps it; `unnamed` names a file that neither
    names."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.strerror:
            names = [str(name) for name in (one.filename, one.filename2) if name is not None]
            return f"{' -> '.join(names) or unnamed} cannot be read or written: {one.strerror}"
    if code := OS_ERROR.search(str(error)):
        file = LIBRARY_FILE.search(str(error))
        return f"{file[1] if file else unnamed} cannot be read or written: {os.strerror(int(code[1]))}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def end_at_signals(name: str) -> None:
    """Makes Ctrl-C and SIGTERM end this process immediately with one line, exit codes 130 and 143.

    A run can resume after a kill at any moment, even during a save, so nothing is gained by unwinding, and interrupted
    threads of libraries would print many lines."""

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{name}: {INTERRUPTED}\n".encode())
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)


def only_main_thread_tells() -> None:
    """Keeps threads of libraries from printing tracebacks: their errors reach the main thread, or the main thread has
    already reported why it stopped waiting for them."""
    told_before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if threading.current_thread() is threading.main_thread():
            told_before(kind, error, trace)

    sys.excepthook = hook
    threading.excepthook = lambda failed: None
    sys.unraisablehook = lambda failed: None


def quiet_libraries() -> None:
    """Makes streams replace characters that they cannot encode, and silences warnings about an unwritable cache."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")


def start_jax(join: bool = False) -> None:
    """Starts JAX on its devices, `join`ed with the other processes that the environment names.

    Raises:
        Refusal: the environment asks for what is not there."""
    try:
        import jax

        from lifeq_jax.train.mesh import join_processes

        jax.config.update("jax_enable_x64", False)  # training and its results are in float32
        if join:
            join_processes()
        jax.devices()
    except Refusal:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        asked = " ".join(f"{name}={os.environ[name]}" for name in JAX_NAMES if name in os.environ)
        why = (str(error).splitlines() or ["there is no such device"])[0][:200]
        raise Refusal(
            f"JAX does not start{' with ' + asked if asked else ''}: {why}; JAX_PLATFORMS=cpu is always there"
        ) from None

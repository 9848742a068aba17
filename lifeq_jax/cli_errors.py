"""What goes wrong beside the program itself, told in one line: signals, the system, the device.

The only place that knows how libraries say so; an exception that it does not know is a bug, and has its traceback."""

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType

from lifeq_jax.core.refusal import Diverged, Refusal

EXIT_REFUSED, EXIT_FAILED, EXIT_INTERRUPTED = 2, 1, 130
INTERRUPTED = "interrupted; the same command resumes a run at its last checkpoint"
JAX_NAMES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_ENABLE_X64", "XLA_FLAGS")
OS_ERROR = re.compile(r"os_error_code='(\d+)'")  # as TensorStore, which writes checkpoints, says it
LIBRARY_FILE = re.compile(r'local file "([^"]*?)(?:\.orbax-checkpoint-tmp[^"]*)?"')


def told(error: BaseException, batch_size: int | None = None) -> tuple[str, int] | None:
    """The line and the exit code of an exception; None for a bug.

    `batch_size`: of the recipe that was trained, where one was."""
    if isinstance(error, Refusal):
        return str(error), EXIT_REFUSED
    if isinstance(error, Diverged):
        return str(error), EXIT_FAILED
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, EXIT_INTERRUPTED
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return _out_of_memory(batch_size), EXIT_FAILED
    reason = _of_the_system(error)
    return None if reason is None else (reason, EXIT_REFUSED)


def _out_of_memory(batch_size: int | None) -> str:
    if not batch_size:
        return "memory is used up"
    smaller = max(batch_size // 2, 1)
    return (
        f"the device's memory is used up with data.batch_size={batch_size}; try --data.batch-size {smaller}, or "
        "--data.input pipeline, which keeps no images on the device"
    )


def _of_the_system(error: BaseException) -> str | None:
    """What the system has refused, of its own exception or of a library's that passes it on."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.strerror:
            names = [str(name) for name in (one.filename, one.filename2) if name is not None]
            return f"{' -> '.join(names) or 'a file'} cannot be read or written: {one.strerror}"
    if code := OS_ERROR.search(str(error)):
        file = LIBRARY_FILE.search(str(error))
        return f"{file[1] if file else 'a file'} cannot be read or written: {os.strerror(int(code[1]))}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def end_at_signals(name: str) -> None:
    """Lets Ctrl-C and SIGTERM end this process at once, in one line, exit 130 and 143.

    A run may be killed at any moment, inside a save too, and resumes; so nothing is gained by unwinding, while threads
    of libraries that are cut off in their work say so in many lines."""

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{name}: {INTERRUPTED}\n".encode())
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)


def quiet_libraries() -> None:
    """Streams that cannot show a character show another, and a cache that cannot be written is done without."""
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

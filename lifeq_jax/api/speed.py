"""Settings for speed on a CPU: a cache of compiled programs on disk, and an allocator that keeps freed memory."""

import ctypes
import os
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h
OWN = "MALLOC_TRIM_THRESHOLD_"  # glibc's own variable
CACHE = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def fast_cpu() -> None:
    """Applies the command line's settings for speed. Call it first, before anything is computed.

    All compiled programs are cached in the folder lifeq_jax of the user's cache, unless the variables
    JAX_COMPILATION_CACHE_DIR and JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS are set. Freed memory is kept in the
    process (`keep_freed_memory`).

    Example:
        >>> import lifeq_jax as lq
        >>> lq.fast_cpu()
    """
    if (folder := cache_folder()) is not None:
        os.environ.setdefault(CACHE, str(folder))
    # small programs too: a start compiles some dozens of them
    os.environ.setdefault(LEAST_SECONDS, "0")
    if "jax" in sys.modules:  # JAX reads the variables only when it is imported
        import jax

        jax.config.update(CACHE.lower(), os.environ.get(CACHE))
        jax.config.update(LEAST_SECONDS.lower(), float(os.environ[LEAST_SECONDS]))
    keep_freed_memory()


def cache_folder() -> Path | None:
    """The folder of the compilation cache; None if it cannot be written."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lifeq_jax"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder at all
        return None
    return folder if os.access(folder, os.W_OK) else None


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next allocation; does nothing with another C library.

    XLA's CPU backend frees the intermediate values of every step. If they go back to the system, the next step gets its
    memory page by page and cleared, which takes a quarter of a training step of ResNet-20. With this setting the
    process keeps its peak size until it ends, which can be three or four times a step's intermediate values
    (results/LOG.md). Does nothing if glibc's variable MALLOC_TRIM_THRESHOLD_ is set. Call it before any thread starts:
    earlier threads keep malloc arenas that ignore this setting."""
    if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}) and OWN not in os.environ:
        library = ctypes.CDLL(None)
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
            library.mallopt(option, value)

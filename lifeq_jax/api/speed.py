"""What makes a process on a CPU fast: compiled programs are kept on disk, and freed memory in the process."""

import ctypes
import os
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h
OWN = "MALLOC_TRIM_THRESHOLD_"  # glibc's own variable
CACHE = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def fast_cpu() -> None:
    """Sets what the command line sets for speed; to be called first, before anything is computed.

    Compiled programs are kept in the folder lifeq_jax of the user's cache, small ones too, for the next process that
    needs them; the variables JAX_COMPILATION_CACHE_DIR and JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS, where they are
    set, say otherwise. Freed memory is kept in the process (`keep_freed_memory`).

    Example:
        >>> import lifeq_jax as lq
        >>> lq.fast_cpu()
    """
    if (folder := cache_folder()) is not None:
        os.environ.setdefault(CACHE, str(folder))
    # small programs too: a start makes some dozens of them
    os.environ.setdefault(LEAST_SECONDS, "0")
    if "jax" in sys.modules:  # which reads its variables when it is imported
        import jax

        jax.config.update(CACHE.lower(), os.environ.get(CACHE))
        jax.config.update(LEAST_SECONDS.lower(), float(os.environ[LEAST_SECONDS]))
    keep_freed_memory()


def cache_folder() -> Path | None:
    """Where compiled programs are kept between processes; None where nothing can be written."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lifeq_jax"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder at all
        return None
    return folder if os.access(folder, os.W_OK) else None


def keep_freed_memory() -> None:
    """Keeps freed memory for the next allocation, under glibc; elsewhere nothing happens.

    XLA's CPU backend frees the intermediate values of every step. Given back to the system, they come again page by
    page, cleared: a quarter of a training step of ResNet-20. The process keeps its peak size until it ends, and that
    can be three or four times a step's intermediate values (results/LOG.md). Who has set glibc's variable
    MALLOC_TRIM_THRESHOLD_ wants it otherwise, and nothing is changed. To be called before threads start, which else
    have a heap of their own that always shrinks."""
    if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}) and OWN not in os.environ:
        library = ctypes.CDLL(None)
        for option, value in ((M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)):
            library.mallopt(option, value)

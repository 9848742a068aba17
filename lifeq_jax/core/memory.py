"""What the C library does with memory that the process has freed."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h
OWN = "MALLOC_TRIM_THRESHOLD_"  # glibc's own variable


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

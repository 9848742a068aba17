"""How much memory the machine has."""

import os
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, on Linux


def host_bytes() -> int:
    """Bytes of memory of this machine, or of the container where it has less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = LIMIT.read_text().strip() if LIMIT.exists() else "max"
    return machine if limit == "max" else min(machine, int(limit))

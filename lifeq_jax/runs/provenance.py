"""The code and the machine that made a result."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def commit() -> str:
    """Short hash of the package's own checkout, with '+' if tracked files differ from it; outside of such a checkout,
    the version of the installed package."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=PACKAGE, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # the package may be installed inside another project's repository
        if Path(git("rev-parse", "--show-toplevel")).resolve() == PACKAGE.parent.resolve():
            return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        pass  # no git, or no repository
    try:
        return f"version {metadata.version('lifeq_jax')}"
    except metadata.PackageNotFoundError:
        return "unknown"


def machine() -> str:
    """Processor, core count and first accelerator."""
    import jax

    device = jax.devices()[0]
    cores = f"{os.cpu_count()} cores {platform.machine()}"
    return cores if device.platform == "cpu" else f"{cores}, {jax.device_count()} x {device.device_kind}"

"""The command `lifeq-jax doctor`: what a report of a fault should say of the machine, and what is missing on it."""

import argparse
import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from lifeq_jax.api.speed import CACHE
from lifeq_jax.cli_errors import start_jax
from lifeq_jax.cli_parser import add_command
from lifeq_jax.core.refusal import Refusal

PACKAGE = "lifeq_jax"
SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow", "tensorflow-cpu")


def add_doctor(commands) -> None:
    """Adds the command."""
    text = "print versions, devices and folders, and which extras are missing; exit code 2 where a version does not fit"
    add_command(commands, "doctor", _doctor, text)


def _doctor(options: argparse.Namespace) -> None:
    if _version(PACKAGE) == "missing":
        raise Refusal(f"{PACKAGE} is not installed: pip install -e . in a checkout")
    print(f"{PACKAGE:12s}{_version(PACKAGE)}, Python {platform.python_version()}, {platform.platform()}")
    print(f"{'packages':12s}{', '.join(f'{name} {_version(name)}' for name in SHOWN if _version(name) != 'missing')}")
    start_jax()
    import jax

    for device in jax.devices():
        limit = (device.memory_stats() or {}).get("bytes_limit")
        memory = f", {limit / 2**30:.1f} GiB" if limit else ""
        print(f"{'device':12s}{device.platform} {device.device_kind}{memory}")
    print(f"{'processor':12s}{os.cpu_count()} cores, {platform.machine()}")
    print(f"{'cache':12s}{_folder(Path(os.environ[CACHE]), 'compiled programs') if CACHE in os.environ else 'none'}")
    for name, content in (("data", "data sets"), ("runs", "runs")):
        print(f"{name:12s}{_folder(Path(name).absolute(), content)}")
    for extra in metadata.metadata(PACKAGE).get_all("Provides-Extra") or []:
        gone = sorted(set(missing(PACKAGE, extra)))
        print(
            f"{'extra':12s}{extra}: "
            + (f"pip install '{PACKAGE}[{extra}]' ({', '.join(gone)})" if gone else "installed")
        )
    if unfit := sorted(set(missing(PACKAGE))):
        raise Refusal(f"packages are missing or of another version than was tested: {', '.join(unfit)}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def missing(name: str, extra: str = "") -> Iterator[str]:
    """What an installed package, or an extra of it, needs and this machine has not, as `jax>=0.10,<0.12`."""
    from packaging.requirements import Requirement

    for text in metadata.requires(name) or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        if extra and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            continue  # needed without the extra too
        version = _version(wanted.name)
        if version == "missing" or not wanted.specifier.contains(version, prereleases=True):
            yield f"{wanted.name}{wanted.specifier}"
            continue
        for inner in wanted.extras:
            yield from missing(wanted.name, inner)


def _folder(path: Path, content: str) -> str:
    place = next(folder for folder in (path, *path.parents) if folder.exists())
    free = f"{shutil.disk_usage(place).free / 1e9:.1f} GB free"
    if not os.access(place, os.W_OK):
        free += ", not writable"
    if not path.is_dir():
        return f"{path} (not there yet; {free})"
    return f"{path} ({sum(1 for _ in path.iterdir())} {content}; {free})"

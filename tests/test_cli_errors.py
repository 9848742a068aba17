"""What goes wrong beside the program is told in one line: signals, the system, libraries, the device."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from lifeq_jax import cli
from lifeq_jax.api.speed import cache_folder
from lifeq_jax.cli_errors import EXIT_FAILED, EXIT_REFUSED, INTERRUPTED, error_line
from lifeq_jax.core.refusal import Diverged, Refusal

ROOT = Path(__file__).parent.parent


def test_every_known_exception_has_a_line_and_a_code():
    full = OSError(28, "No space left on device", "runs/x/a.csv")
    assert error_line(full) == ("runs/x/a.csv cannot be read or written: No space left on device", EXIT_REFUSED)
    unnamed = error_line(OSError(28, "No space left on device"), folder=Path("runs/x"))
    assert unnamed == ("run folder runs/x cannot be read or written: No space left on device", EXIT_REFUSED)
    assert error_line(Refusal("bad")) == ("bad", EXIT_REFUSED)
    assert error_line(Diverged("bad")) == ("bad", EXIT_FAILED)
    assert error_line(KeyboardInterrupt()) == (INTERRUPTED, 130)
    assert error_line(ZeroDivisionError("division by zero")) is None
    try:
        try:
            raise full
        except OSError as error:
            raise ValueError("a library's own") from error
    except ValueError as error:
        assert error_line(error) == error_line(full)


def test_out_of_memory_names_the_batch_size_and_half_of_it():
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes.")
    line, code = error_line(error, batch_size=512)
    assert code == EXIT_FAILED and "data.batch_size=512; try --data.batch-size 256, or" in line
    assert error_line(MemoryError(), batch_size=512) == (line, code)


def run(words: list[str], environment: dict[str, str] | None = None) -> tuple[int, str, list[str]]:
    """Exit code, standard output and the lines of standard error of a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {})
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("name", ["JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_ENABLE_X64"])
def test_what_jax_cannot_start_on_is_refused_in_a_line(name):
    code, _, lines = run(["-m", "lifeq_jax", "toy", "--steps", "1"], {"JAX_PLATFORMS": "", name: "atari"})
    assert code == EXIT_REFUSED and len(lines) == 1
    assert lines[0].startswith("lifeq-jax: JAX does not start with ") and f"{name}=atari" in lines[0]


def test_a_poor_environment_is_enough(tmp_path):
    away = str(tmp_path / "file" / "below")
    (tmp_path / "file").write_text("")
    poor = {"JAX_ENABLE_X64": "1", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "HOME": away, "XDG_CACHE_HOME": away}
    words = ["-m", "lifeq_jax", "toy", "--steps", "10", "--out", str(tmp_path / "toy.png")]
    code, out, lines = run(words, poor | {"MPLCONFIGDIR": away})
    assert (code, lines) == (0, []) and "plot: " in out
    assert (tmp_path / "toy.png").exists()


def test_a_place_that_cannot_be_written_is_refused_in_a_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["toy", "--steps", "10", "--out", str(tmp_path / "file" / "toy.png")]) == EXIT_REFUSED
    error = capsys.readouterr().err
    assert "cannot be read or written: " in error and error.count("\n") == 1


def test_without_a_home_or_a_place_in_it_there_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "lifeq_jax"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder() is None


COMMAND = """
import sys
from pathlib import Path
from lifeq_jax import cli
from lifeq_jax.cli_parser import Parser, add_command

def save(options):
    from lifeq_jax.train.checkpoint import Checkpoints
    from tests.train.test_files import NETWORK, PROGRESS, TRAINING
    checkpoints = Checkpoints(Path(sys.argv[2]))
    {what}

parser = Parser(prog="command")
add_command(parser.add_subparsers(dest="command", required=True), "save", save, "save").add_argument("folder")
sys.exit(cli.run_command(parser, None))
"""
LARGE = """import numpy, resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    checkpoints.save({'params': numpy.random.rand(99, 99), 'batch_stats': {}}, TRAINING, PROGRESS)"""
LOOP = """print('ready', flush=True)
    while True: checkpoints.save(NETWORK, TRAINING, PROGRESS)"""


def test_a_full_disk_is_one_line(tmp_path):
    code, _, lines = run(["-c", COMMAND.format(what=LARGE), "save", str(tmp_path / "w4")])
    assert code == EXIT_REFUSED
    assert lines == [f"command: {tmp_path / 'w4' / '1'} cannot be read or written: File too large"]


def test_threads_of_libraries_are_silent_and_a_bug_is_not(tmp_path):
    what = """import threading
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise LookupError('a bug')"""
    code, _, lines = run(["-c", COMMAND.format(what=what), "save", str(tmp_path)])
    assert (
        code == EXIT_FAILED and lines[-1] == "LookupError: a bug" and not any("ZeroDivision" in line for line in lines)
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_save_is_one_line(tmp_path, number):
    words = [sys.executable, "-c", COMMAND.format(what=LOOP), "save", str(tmp_path / "w4")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=ROOT, env=os.environ, **pipes) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            # some later one: the oldest are deleted, and this process may sleep meanwhile
            while not any(path.name.isdecimal() and path.name != "1" for path in (tmp_path / "w4").glob("*")):
                assert process.poll() is None
            process.send_signal(number)
            _, error = process.communicate(timeout=120)
        finally:
            process.kill()  # it would save for ever, and `with` waits for its end
    assert (process.returncode, error) == (128 + number, f"command: {INTERRUPTED}\n")

"""A command that is one of several processes: when another dies, it ends with one line and exit 1.

JAX aborts a process whose others are gone, in a thread of C++ and with a trace of it; nothing within the process can
change that. So the work is done in a child, and its parent tells."""

import os
import re
import signal
import sys
import threading
import time

RESUMES = "the same command, started again for all processes, resumes the run at its last checkpoint"
# as the coordination service of JAX and the libraries that carry sums between processes say that others are gone
FATAL = re.compile(r"^F\d{4} [\d:.]+ .*JAX distributed service detected fatal errors", re.MULTILINE)
UNHEALTHY = re.compile(r"unhealthy \(stopped sending heartbeats\):\n((?:\S*\d+\n)+)")
TIMED_OUT = re.compile(r"Task (\d+) heartbeat timeout")  # so named where the others wait for each other's end
LOST = re.compile(r"gloo|nccl|coordination service|barrier|UNAVAILABLE|DEADLINE_EXCEEDED", re.IGNORECASE)
VERDICT = 11  # seconds until JAX has certainly noticed a missing process, see `HEARTBEAT` in train/mesh.py
FAREWELL = 3  # seconds that a process which ends by itself waits for the others to end too


def go_on_in_a_child(name: str) -> None:
    """Returns in a child process; its parent, a command of this name, waits for it and ends as it ends.

    Must come before libraries start threads. A signal ends the parent, and with the parent the child."""
    (parent_lives, parent), (said, saying) = os.pipe(), os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.close(parent_lives)
        os.close(saying)
        _tell(name, child, said)
    os.close(parent)
    os.close(said)
    os.dup2(saying, 2)
    os.close(saying)
    os.setsid()  # so that Ctrl-C reaches the parent alone
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent_lives,), daemon=True).start()


def _end_with(parent_lives: int) -> None:
    os.read(parent_lives, 1)  # returns when the parent, which never writes, is gone
    os._exit(1)


def _tell(name: str, child: int, said: int) -> None:
    """Passes on what the child says, up to a fatal error of a library; ends this process as the child ended."""
    held: list[str] = []
    with open(said, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if held or FATAL.search(line):
                held.append(line)
            else:
                sys.stderr.write(line)
                sys.stderr.flush()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0 or (status > 0 and not held):
        os._exit(status)
    fatal = "".join(held)
    sys.stderr.write(f"{name}: {gone(fatal) or f'{fatal}ended by signal {-status}'}; {RESUMES}\n")
    sys.stderr.flush()
    os._exit(1)


def gone(fatal: str) -> str | None:
    """Which processes are gone, by the words with which JAX has aborted; None where it was for another reason."""
    if not FATAL.search(fatal):
        return None
    named = UNHEALTHY.search(fatal)
    numbers = re.findall(r"(\d+)\n", named[1]) if named else sorted(set(TIMED_OUT.findall(fatal)), key=int)
    numbers = numbers or ["0"]  # the service itself, which process 0 runs
    return f"process {', '.join(numbers)} has died or was stopped"


def lost_others(error: BaseException) -> str | None:
    """The line of an exception that comes of another process's death, None where it does not; waits for JAX, which
    knows which process it was and aborts this one."""
    if not _joined() or not LOST.search(str(error)):
        return None
    time.sleep(VERDICT)
    return f"another process has died or was stopped; {RESUMES}"


def leave(code: int) -> None:
    """Ends a process that has told why it does not go on, where it is one of several, which it does not wait for."""
    if not _joined():
        return
    import jax

    parting = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    parting.start()
    parting.join(FAREWELL)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _joined() -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()

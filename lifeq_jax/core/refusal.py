"""The exceptions that the command line reports in one line."""


class Refusal(ValueError):
    """Bad input; the message is one line that names the file, row or key, the value and the choices.

    The command line prints the line and exits with code 2; a library caller catches it like any ValueError."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # names and values that it quotes may hold line breaks


class Diverged(RuntimeError):
    """The loss became infinite or NaN. The run stops and keeps its last good checkpoint; the exit code is 1."""

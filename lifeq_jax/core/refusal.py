"""The exceptions that a command tells in one line."""


class Refusal(ValueError):
    """Bad input, told in one line that names the file, row or key, the value and the choices.

    The command line prints the line and exits with code 2; a library caller catches it like any ValueError."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))  # names and values that it quotes may hold line breaks


class Diverged(RuntimeError):
    """The loss became infinite or not a number; the run stops with its last good checkpoint, exit code 1."""

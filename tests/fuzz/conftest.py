"""Says how many inputs have been tried."""

from tests.fuzz.targets import INPUTS


def pytest_terminal_summary(terminalreporter):
    for name, number in sorted(INPUTS.items()):
        terminalreporter.write_line(f"fuzz: {number:8d} inputs of {name}")
    if INPUTS:
        terminalreporter.write_line(f"fuzz: {sum(INPUTS.values()):8d} inputs in all")

"""Tests of many made-up inputs: few in the suite, as many as time allows with FUZZ_MINUTES."""

import inspect
import os
import time
from collections import Counter

import hypothesis
from hypothesis import strategies as st

SECONDS = 60 * float(os.environ.get("FUZZ_MINUTES", 0))
FEW, MANY = 25, 500  # inputs of a target in the suite; in one round of a long run
TARGETS = []  # names
INPUTS: Counter[str] = Counter()


def target(rarely=1, **strategies):
    """Makes a test of a function of made-up inputs, which pytest gives fixtures for its other arguments. Of one that is
    tried `rarely`, a round has so many times fewer inputs.

    In the suite the inputs are the same every time. A long run takes new ones until its share of the time is over, and
    prints the numbers of the round that failed and of all inputs."""

    def decorate(test):
        name = test.__name__.removeprefix("test_")
        TARGETS.append(name)

        def run(fixtures, number, size):
            def once(made):
                INPUTS[name] += 1
                test(**made, **fixtures)

            how = hypothesis.settings(
                max_examples=size,
                deadline=None,
                database=None,
                derandomize=not SECONDS,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            hypothesis.seed(number)(how(hypothesis.given(st.fixed_dictionaries(strategies))(once)))()

        def fuzz(**fixtures):
            end = time.monotonic() + SECONDS / len(TARGETS)
            run(fixtures, 0, (MANY if SECONDS else FEW) // rarely)
            number = 1
            while time.monotonic() < end:
                run(fixtures, number, MANY // rarely)
                number += 1

        wanted = inspect.signature(test).parameters.values()
        fuzz.__signature__ = inspect.Signature([item for item in wanted if item.name not in strategies])
        fuzz.__name__, fuzz.__module__, fuzz.__doc__ = test.__name__, test.__module__, test.__doc__
        return fuzz

    return decorate


PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [b",", b'"', b"\n", b"\r", b"\0", b"../", b"-", b"9" * 20, b"\xef\xbb\xbf", b"/", b"\\", b"a", b"1"]
    ),
    st.text(max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
KINDS = st.sampled_from(["insert", "replace", "delete", "repeat"])
CHANGES = st.lists(st.tuples(KINDS, st.floats(0, 1), PIECES), max_size=6)


def mutated(content, changes):
    """Bytes with changes of CHANGES, each at a share of the length."""
    for kind, share, piece in changes:
        place = int(share * len(content))
        head, tail = content[:place], content[place:]
        cut = {"insert": 0, "replace": len(piece), "delete": len(piece) + 1, "repeat": 0}[kind]
        middle = {"delete": b"", "repeat": head[-9:] * 2}.get(kind, piece)
        content = head + middle + tail[cut:]
    return content


def told(refusal):
    """The text of a refusal, which is one line."""
    assert len(str(refusal).splitlines()) == 1, refusal
    return str(refusal)

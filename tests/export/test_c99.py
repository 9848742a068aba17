"""The C file: it compiles without a warning, and its integers are the program's."""

import re
import subprocess

import numpy as np
import pytest

from lifeq_jax.export.c99 import type_of, write_c
from lifeq_jax.export.integer import run
from lifeq_jax.export.program import LOGITS, Integers, Op, Program
from lifeq_jax.export.runtime import compiler
from tests.export.networks import LARGE, SHAPE, of_setup, pixels, program_of

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler on this machine")
STRICT = (
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O0",
    "-fsanitize=undefined",
    "-fno-sanitize-recover",
)


def logits(program, image, folder, task=0):
    source = folder / "model.c"
    source.write_bytes(write_c(program))
    subprocess.run([compiler(), *STRICT, "-o", str(folder / "model"), str(source)], check=True)
    given = image.tobytes()
    done = subprocess.run([str(folder / "model"), str(task)], input=given, capture_output=True, check=True)
    return np.array(done.stdout.split(), np.float32).reshape(len(image), -1)


CASES = [
    ("inverted residual", "LSQ_paper", {}),
    ("small", "convolutions", {"bits": 8}),
    ("small", "convolutions", {"act": ("cdf_activation", {}), "bits": (4, 3)}),
]


@pytest.mark.parametrize(("name", "setup", "how"), CASES, ids=str)
def test_the_logits_of_the_program(name, setup, how, tmp_path):
    shape = LARGE.get(name, SHAPE)
    program = program_of(name, shape, setup=setup, **{**of_setup(setup), **how})
    image = pixels(2, shape)
    expected = run(program, image)
    np.testing.assert_allclose(logits(program, image, tmp_path), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_memory_is_used_again():
    program = program_of()
    text = write_c(program).decode()
    workspace = int(re.search(r"#define LIFEQ_WORKSPACE (\d+)", text)[1])
    values = sum(np.prod(op.output.shape) for op in program.ops if op.kind not in ("conv", "dense"))
    assert 4 * 6 * 6 < workspace < values


def test_tasks_and_rare_ops(tmp_path):
    ops = (
        Op("pixels", ("image",), Integers("v0", (4, 4, 2), -99, 156), {}, {"table": "t"}),
        Op(
            "slice",
            ("v0",),
            Integers("v1", (2, 3, 2), -99, 156),
            {"start": [0, 1, 0], "limit": [4, 4, 2], "strides": [2, 1, 1]},
        ),
        Op("offset", ("v1",), Integers("v2", (2, 3, 2), -199, 56), {"constant": -100}),
        Op("multiply", ("v1", "v2"), Integers("v3", (2, 3, 2), -(10**5), 10**5)),
        Op("clip", ("v3",), Integers("v4", (2, 3, 2), -500, 2000)),
        Op("lookup", ("v4",), Integers("v5", (2, 3, 2), -9, 2**31 - 1), {"first": -500}, {"table": "l"}),
        Op(
            "max_pool",
            ("v5",),
            Integers("v6", (1, 2, 2), -9, 2**31 - 1),
            {"window": [2, 2], "strides": [2, 2], "padding": [[0, 0], [1, 0]]},
        ),
        Op("reshape", ("v6",), Integers("v7", (4,), -9, 2**31 - 1)),
        Op("dequantize", ("v7",), Integers(LOGITS, (4,), 0, 0), {}, {"step": "s", "bias": "b"}),
    )
    random = np.random.default_rng(0)
    tensors = {
        "t": random.integers(-99, 157, (2, 2, 256)).astype(np.int32),
        "l": random.integers(-9, 2**31 - 1, 2501).astype(np.int32),
        "s": np.float32([1e-9, 2, 3, 4]),
        "b": np.float32([1]),
    }
    program = Program(ops, tensors, {})
    image = random.integers(0, 256, (3, 4, 4, 2)).astype(np.uint8)
    for task in (0, 1):
        np.testing.assert_allclose(logits(program, image, tmp_path, task), run(program, image, task), rtol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [(0, 255, "uint8_t"), (-1, 127, "int8_t"), (0, 256, "int16_t"), (-(2**31), 0, "int32_t"), (0, 2**31, "int64_t")],
)
def test_the_smallest_type(low, high, name):
    assert type_of(Integers("x", (1,), low, high)) == name

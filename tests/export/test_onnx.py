"""ONNX files: what they hold, and the fast one as close as it says. test_lower.py runs the exact one."""

import numpy as np
import onnx
import onnxruntime
import pytest

from lifeq_jax.export.integer import run
from lifeq_jax.export.onnx_exact import Writer
from lifeq_jax.export.onnx_graph import Nodes, Tensor
from lifeq_jax.export.onnx_int8 import FastWriter
from lifeq_jax.export.program import LOGITS, Integers, Op, Program, Weight
from tests.export.networks import LSQ, SHAPE, pixels, program_of

LEVELS = onnxruntime.GraphOptimizationLevel


def logits(content, image, level, **more):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads, options.log_severity_level = level, 1, 3
    return onnxruntime.InferenceSession(content, options).run(None, {"image": image} | more)[0]


@pytest.mark.parametrize(("bits", "kind"), [(4, "INT4"), (8, "UINT8")])
def test_what_the_file_holds(bits, kind):
    program = program_of(bits=bits)
    model = onnx.load_from_string(Writer(program).write())
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 21)]
    onnx.checker.check_model(model, full_check=True)
    stored = {item.name: item.data_type for item in model.graph.initializer}
    assert {stored[name] for name in program.weights} == {getattr(onnx.TensorProto, kind)}
    assert ("ConvInteger" in {node.op_type for node in model.graph.node}) == (bits > 4)


def test_int8_weights_never_meet_large_activations():
    """Kernels without VNNI saturate sums of uint8 times int8, and nothing else."""
    seen = set()
    for how in ({"bits": (8, 8)}, {"bits": (4, 8)}, {"bits": (8, 4), "weight": LSQ}, {"bits": (7, 8), "weight": LSQ}):
        program = program_of(**how)
        for writer in (Writer(program), *([FastWriter(program)] if how.get("weight") else [])):
            model = onnx.load_from_string(writer.write())
            types = {item.name: item.data_type for item in model.graph.initializer}
            made_by = {node.output[0]: node for node in model.graph.node}
            for node in model.graph.node:
                if node.op_type in ("ConvInteger", "MatMulInteger"):
                    assert types[node.input[1]] == onnx.TensorProto.UINT8
                    seen.add("integer")
                if node.op_type in ("Conv", "Gemm") and how["bits"][1] == 8:
                    kernel = node.input[1]
                    while kernel not in types:
                        kernel = made_by[kernel].input[0]
                    assert types[kernel] != onnx.TensorProto.INT8
                    seen.add(types[kernel])
    assert seen >= {"integer", onnx.TensorProto.INT4, onnx.TensorProto.UINT8}


def test_the_same_bytes_twice():
    program = program_of()
    assert Writer(program).write() == Writer(program).write()
    assert FastWriter(program).write() == FastWriter(program).write()


FAST = [
    ("resnet", {}),
    ("mlp", {}),
    ("mobilenet_v2", {"setup": "LSQ_paper", "weight": LSQ, "act": LSQ, "bits": 3}),
    ("mlp", {"setup": "LSQ_paper", "weight": LSQ, "act": LSQ, "bits": 2}),
]


@pytest.mark.parametrize(("name", "how"), FAST, ids=str)
def test_the_fast_file_is_fused_and_close(name, how, tmp_path):
    program = program_of(name, **how)
    writer, image = FastWriter(program), pixels(40, SHAPE)
    content = writer.write()
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(content, options)
    fused = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    layers = sum(op.kind in ("conv", "dense") for op in program.ops)
    assert fused.count("QLinearConv") + fused.count("QGemm") == writer.fused >= (1 if how else layers - 1)
    assert writer.misplaced < 0.005 * writer.thresholds
    found, expected = logits(content, image, LEVELS.ORT_ENABLE_ALL), run(program, image)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(found - expected).max() < (0.02 if writer.misplaced else 1e-6) * np.abs(expected).max()


@pytest.mark.parametrize("high", [3, 7])
def test_lines_of_every_kind_in_the_fast_file(high):
    """Flat ones, ones that fall, ones that begin or end outside of the accumulators, several levels at one place."""
    random, channels = np.random.default_rng(high), 300
    slope = random.choice([-1, 1], channels) * random.uniform(0.05, 1.5, channels)
    slope[:30] = 0
    lines = {
        "m": np.round(slope * 2**20).astype(np.int32),
        "b": np.round(random.uniform(-3, high + 3, channels) * 2**20).astype(np.int64),
        "s": np.full(channels, 20, np.uint8),
    }
    values = random.integers(0, 8, (1, 1, 1, channels))
    weight = Weight(values, 3, 3, 1, np.asarray(-4), 0, (4.0,), (1.0,))
    ops = (
        Op("pixels", ("image",), Integers("v0", (2, 4, 1), 0, 7), {}, {"table": "t"}),
        Op(
            "conv",
            ("v0",),
            Integers("v1", (2, 4, channels), -28, 21),
            {"strides": [1, 1], "padding": [[0, 0], [0, 0]], "groups": 1},
            {"weight": "w"},
        ),
        Op(
            "requantize",
            ("v1",),
            Integers("v2", (2, 4, channels), 0, high),
            {"pre": 0},
            {"multiplier": "m", "bias": "b", "shift": "s"},
        ),
        Op("reshape", ("v2",), Integers("v3", (8 * channels,), 0, high)),
        Op("dequantize", ("v3",), Integers(LOGITS, (8 * channels,), 0, 0), {}, {"step": "one", "bias": "zero"}),
    )
    plain = {"t": np.minimum(np.arange(256), 7).astype(np.int32).reshape(1, 1, 256)}
    ends = {"one": np.ones(1, np.float32), "zero": np.zeros(1, np.float32)}
    program = Program(ops, lines | plain | ends, {"w": weight})
    writer, image = FastWriter(program), np.arange(8, dtype=np.uint8).reshape(1, 2, 4, 1)
    content, expected = writer.write(), run(program, image)
    assert (writer.fused, writer.misplaced) == (1, 0)
    assert writer.thresholds > 300
    for level in (LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_ALL):
        np.testing.assert_array_equal(logits(content, image, level), expected)


def test_tasks_with_tables_of_their_own():
    table = np.arange(2 * 256, dtype=np.int32).reshape(2, 1, 256)
    ops = (
        Op("pixels", ("image",), Integers("v0", (2, 2, 1), 0, 511), {}, {"table": "t"}),
        Op("sum", ("v0",), Integers("v1", (1,), 0, 2044)),
        Op("dequantize", ("v1",), Integers(LOGITS, (1,), 0, 0), {}, {"step": "s", "bias": "b"}),
    )
    program = Program(ops, {"t": table, "s": np.ones(1, np.float32), "b": np.zeros(1, np.float32)}, {})
    content, image = Writer(program).write(), np.full((3, 2, 2, 1), 7, np.uint8)
    for task in (0, 1):
        found = logits(content, image, LEVELS.ORT_ENABLE_ALL, task=np.array(task))
        np.testing.assert_array_equal(found, run(program, image, task))
    assert run(program, image, 1)[0, 0] == 4 * (256 + 7)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-7, 8), (0, 256), (-(2**30), 2**30 - 1), (3, 900)])
def test_digits_add_up(low, high):
    nodes, integers = Nodes(), Integers("x", (4,), low, high)
    values = np.linspace(low, high, 9).astype(np.int64)
    digits = Tensor(nodes, integers, "i64", "x").digits()
    total = ""
    for place, (name, zero) in enumerate(digits):
        own = nodes.add("Mul", nodes.add("Sub", nodes.cast(name, "INT64"), np.int64(zero)), np.int64(256**place))
        total = nodes.add("Add", total, own) if total else own
    helper, kinds = onnx.helper, onnx.TensorProto
    ends = [helper.make_tensor_value_info(name, kinds.INT64, ["N"]) for name in ("x", total)]
    graph = helper.make_graph(nodes.nodes, "g", ends[:1], ends[1:], nodes.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_array_equal(session.run(None, {"x": values})[0], values)
    assert len(digits) == max(1, -(-int(max(high, 0) - min(low, 0)).bit_length() // 8))

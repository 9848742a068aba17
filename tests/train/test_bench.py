"""The benchmark reports what it says it does; how fast is no business of a test."""

import jax
import jax.numpy as jnp
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train import bench, bench_epoch, bench_input, bench_start
from lifeq_jax.train.bench import alternate, bench_step, operations


@pytest.fixture(autouse=True)
def small_ceilings(monkeypatch):
    monkeypatch.setattr(bench, "COPIED", 2**10)
    monkeypatch.setattr(bench, "SIDE", 32)


def test_bench_step_reports_rates_ratios_and_shares():
    result = bench_step("mlp", batch_size=2, bits=4, repeats=2, steps=1)
    names = ["float", "LifeQuant 4-bit", "ClimbQ 4-bit", "LSQ 4-bit, freezing", "float again"]
    numbers = result.numbers
    assert list(numbers["images_per_second"]) == names
    assert all(rate > 0 for rate in numbers["images_per_second"].values())
    assert numbers["time_ratio_to_float"]["float"] == 1.0
    assert numbers["gigaoperations_per_step"]["float"] == numbers["gigaoperations_per_step"]["float again"] > 0
    assert numbers["processor_ratio_to_float"]["float"] == 1.0
    assert set(numbers["share_of_product"]) == set(numbers["share_of_copy"]) == set(names)
    assert "medians of 2 alternating repeats of 1 steps" in result.text


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("resnet20", 2, 9, 1, 1), "stage.weight_bits=9"),
        (("resnet21", 2, 4, 1, 1), "resnet21"),
        (("resnet20", 0, 4, 1, 1), "batch_size=0"),
    ],
)
def test_bench_step_refuses(arguments, said):
    with pytest.raises(Refusal, match=said):
        bench_step(*arguments)


def test_runs_take_turns():
    calls = []
    times, processor = alternate({"a": lambda n: calls.append(("a", n)), "b": lambda n: calls.append(("b", n))}, 2, 3)
    assert calls == [("a", 2), ("b", 2), *[("a", 3), ("b", 3)] * 2]
    assert [len(values) for values in (*times.values(), *processor.values())] == [2] * 4


def test_no_repeats_are_refused():
    with pytest.raises(Refusal, match="repeats=0"):
        alternate({"a": lambda n: None}, 0, 1)


def test_operations_by_hand():
    def work(x, kernel):
        def body(carry, _):
            return carry @ jnp.ones((3, 3)), None  # 2 * 2 * 3 * 3

        image = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return image, jax.lax.scan(body, jnp.ones((2, 3)), length=5)[0] + 1

    jaxpr = jax.make_jaxpr(jax.jit(work))(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 7)))
    assert operations(jaxpr) == 2 * (2 * 2 * 7) * (3 * 3 * 3) + 5 * 36


def test_bench_compile_times_the_parts_of_fresh_processes(monkeypatch):
    monkeypatch.setattr(bench_start, "CACHES", ("cold", "warm"))
    seconds = bench_start.bench_compile("mlp", batch_size=2, bits=4, repeats=1).numbers["seconds"]
    assert list(seconds) == ["cold", "warm"]
    for parts in seconds.values():
        assert all(parts[part] >= 0 for part in bench_start.PARTS) and parts["import"] > 0
        assert parts["processor"] > parts["import"] / 100
        assert sum(parts[part] for part in bench_start.PARTS) == pytest.approx(parts["total"], abs=0.05)


def test_bench_compile_refuses_before_it_starts_a_process():
    with pytest.raises(Refusal, match="resnet21"):
        bench_start.bench_compile("resnet21", batch_size=2, bits=4, repeats=1)


@pytest.mark.parametrize("has_tensorflow", [True, False])
def test_bench_input_compares_inputs(monkeypatch, has_tensorflow):
    if not has_tensorflow:
        monkeypatch.setattr(bench_input.importlib.util, "find_spec", lambda name: None)
    result = bench_input.bench_input("mlp", batch_size=2, bits=4, repeats=1, steps=2)
    names = ["resident", "tf.data"] if has_tensorflow else ["resident"]
    assert list(result.numbers["waiting_share"]) == names
    assert all(f"{name} alone" in result.numbers["images_per_second"] for name in names)
    assert ("TensorFlow is not installed" in result.text) == (not has_tensorflow)


def test_bench_epoch_compares_epochs_with_their_steps(monkeypatch):
    lengths = []
    real = bench_epoch.train_epoch

    def counted(advance, data, rows, state, place):
        lengths.append(len(rows.index))
        return real(advance, data, rows, state, place)

    monkeypatch.setattr(bench_epoch, "train_epoch", counted)
    result = bench_epoch.bench_epoch(["mlp"], batch_size=2, bits=4, repeats=2, steps=3)
    assert list(result.numbers) == ["mlp, float", "mlp, LifeQuant 4-bit"]
    assert lengths == [2 * 3] * (2 + 2) * 2  # two unmeasured, one a repeat, for both bit-widths
    for numbers in result.numbers.values():
        assert numbers["share_of_step_rate"]["steps"] == 1.0
        assert all(rate > 0 for rate in numbers["images_per_second"].values())
        assert set(numbers["share_of_step_rate"]) == {"epoch", "steps", "steps again"}
    assert result.text.count("medians of 2 alternating repeats of 3 steps") == 2


def test_the_share_is_the_step_time_over_the_epoch_time(monkeypatch):
    times = {"steps": [1.0, 1.0, 3.0], "epoch": [2.0, 2.0, 3.0], "steps again": [1.0, 1.0, 3.0]}
    monkeypatch.setattr(bench_epoch, "alternate", lambda *arguments: (times, times))
    numbers = bench_epoch.bench_epoch(["mlp"], batch_size=2, bits=4, repeats=3, steps=2).numbers["mlp, float"]
    assert numbers["share_of_step_rate"] == {"steps": 1.0, "epoch": 0.5, "steps again": 1.0}
    assert numbers["images_per_second"] == {"steps": 4.0, "epoch": 2.0, "steps again": 4.0}


@pytest.mark.parametrize(
    ("arguments", "said"), [((["resnet21"], 2, 4, 1, 1), "resnet21"), ((["mlp"], 2, 4, 1, 0), "steps=0")]
)
def test_bench_epoch_refuses(arguments, said):
    with pytest.raises(Refusal, match=said):
        bench_epoch.bench_epoch(*arguments)

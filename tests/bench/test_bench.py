"""The benchmarks report what they say they do; how fast is no business of a test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.bench import epochs, fisher, inputs, start, steps
from lifeq_jax.bench.beside_torch import TORCH, bench_torch, torch_resnet20
from lifeq_jax.bench.work import bench_recipe, operations
from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.build import build_stage, complete


@pytest.fixture(autouse=True)
def small_ceilings(monkeypatch):
    monkeypatch.setattr(steps, "COPIED", 2**10)
    monkeypatch.setattr(steps, "SIDE", 32)


def test_bench_step_reports_rates_ratios_and_shares():
    numbers = steps.bench_step("mlp", batch_size=2, bits=4, repeats=2, steps=1).numbers()
    names = ["float", "LifeQuant 4-bit", "ClimbQ 4-bit", "LSQ 4-bit, freezing", "BLIP", "float again"]
    assert list(numbers["images_per_second"]) == names
    assert all(rate > 0 for rate in numbers["images_per_second"].values())
    assert numbers["time_ratio_to_float"]["float"] == numbers["processor_ratio_to_float"]["float"] == 1.0
    assert numbers["gigaoperations_per_step"]["float"] == numbers["gigaoperations_per_step"]["float again"] > 0
    for share in ("share_of_product", "share_of_copy"):
        assert list(numbers[share]) == names and all(value > 0 for value in numbers[share].values())
    assert (numbers["batch_size"], numbers["alternating_repeats"], numbers["steps_of_each"]) == (2, 2, 1)


@pytest.mark.parametrize(
    ("bench", "arguments", "said"),
    [
        (steps.bench_step, ("resnet20", 2, 9, 1, 1), "stage.weight_bits=9"),
        (steps.bench_step, ("resnet21", 2, 4, 1, 1), "resnet21"),
        (steps.bench_step, ("resnet20", 0, 4, 1, 1), "batch_size=0"),
        (epochs.bench_epoch, (["resnet21"], 2, 4, 1, 1), "resnet21"),
        (epochs.bench_epoch, (["mlp"], 2, 4, 1, 0), "steps=0"),
        (epochs.bench_seeds, ("mlp", 2, 4, 1, 0), "steps=0"),
        (fisher.bench_fisher, (["vgg"], 2, 1, 1), "model='vgg' is unknown; choose from alexnet_32, resnet18_84"),
        (start.bench_compile, ("resnet21", 2, 4, 1), "resnet21"),  # before it starts a process
    ],
)
def test_benchmarks_refuse(bench, arguments, said):
    with pytest.raises(Refusal, match=said):
        bench(*arguments)


def test_the_variants_are_the_systems(monkeypatch):
    asked = {}
    monkeypatch.setattr(steps, "compare", lambda what, variants, repeats, steps: asked.update(variants))
    steps.bench_step("mlp", 2, 4, 1, 1)
    assert [recipe.method.name for recipe in asked.values()] == [
        "finetune",
        "lifequant",
        "finetune",
        "finetune",
        "blip",
        "finetune",
    ]
    assert [recipe.stages[0].weight_bits for recipe in asked.values()] == [32, 4, 4, 4, 32, 32]
    assert [recipe.weight_quantizer.name for recipe in asked.values()][1:4] == ["proxq", "cdf", "lsq"]


def test_operations_by_hand():
    def work(x, kernel):
        def body(carry, _):
            return carry @ jnp.ones((3, 3)), None  # 2 * 2 * 3 * 3

        image = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return image, jax.lax.scan(body, jnp.ones((2, 3)), length=5)[0] + 1

    jaxpr = jax.make_jaxpr(jax.jit(work))(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 7)))
    assert operations(jaxpr) == 2 * (2 * 2 * 7) * (3 * 3 * 3) + 5 * 36


def test_bench_compile_times_the_parts_of_fresh_processes(monkeypatch):
    monkeypatch.setattr(start, "CACHES", ("cold", "warm"))
    numbers = start.bench_compile("mlp", batch_size=2, bits=4, repeats=1).numbers()
    for cache in ("cold", "warm"):
        assert all(numbers[part][cache] >= 0 for part in start.PARTS) and numbers["import"][cache] > 0
        assert numbers["processor"][cache] > numbers["import"][cache] / 100
        assert sum(numbers[part][cache] for part in start.PARTS) == pytest.approx(numbers["total"][cache], abs=0.05)


@pytest.mark.parametrize("has_tensorflow", [True, False])
def test_bench_input_compares_inputs(monkeypatch, has_tensorflow):
    if not has_tensorflow:
        monkeypatch.setattr(inputs.importlib.util, "find_spec", lambda name: None)
    numbers = inputs.bench_input("mlp", batch_size=2, bits=4, repeats=1, steps=2).numbers()
    names = ["resident", "tf.data"] if has_tensorflow else ["resident"]
    assert list(numbers["waiting_share"]) == [f"{name} feeding steps" for name in names]
    assert all(f"{name} alone" in numbers["images_per_second"] for name in names)
    assert ("tf.data" in numbers) == (not has_tensorflow)


def test_bench_epoch_compares_epochs_with_their_steps(monkeypatch):
    lengths = []
    real = epochs.train_epoch

    def counted(advance, data, rows, state, place):
        lengths.append(len(rows.index))
        return real(advance, data, rows, state, place)

    monkeypatch.setattr(epochs, "train_epoch", counted)
    numbers = epochs.bench_epoch(["mlp"], batch_size=2, bits=4, repeats=2, steps=3).numbers()
    assert lengths == [2 * 3] * (2 + 2) * 2  # two unmeasured, one a repeat, for both bit-widths
    for column in ("images_per_second", "images_per_second_of_steps_alone", "share_of_step_rate", "control"):
        assert list(numbers[column]) == ["mlp, float", "mlp, LifeQuant 4-bit"]
        assert all(value > 0 for value in numbers[column].values())


def test_the_share_is_the_step_time_over_the_epoch_time(monkeypatch):
    times = {"steps": [1.0, 1.0, 3.0], "epoch": [2.0, 2.0, 3.0], "steps again": [1.0, 1.0, 3.0]}
    monkeypatch.setattr(epochs, "alternate", lambda *arguments: (times, times))
    numbers = epochs.bench_epoch(["mlp"], batch_size=2, bits=4, repeats=3, steps=2).numbers()
    found = {name: column["mlp, float"] for name, column in numbers.items() if isinstance(column, dict)}
    assert (found["share_of_step_rate"], found["share_by_processor_time"], found["control"]) == (0.5, 0.5, 1.0)
    assert (found["images_per_second_of_steps_alone"], found["images_per_second"]) == (4.0, 2.0)


def test_bench_seeds_trains_seeds_side_by_side(monkeypatch):
    seen = []
    real = epochs.train_abreast

    def watched(advance, jobs):
        found = real(advance, jobs)
        seen.append([jax.tree.leaves(state.params)[0] for state, _ in found])
        return found

    monkeypatch.setattr(epochs, "train_abreast", watched)
    numbers = epochs.bench_seeds("mlp", batch_size=2, bits=4, repeats=1, steps=2).numbers()
    assert list(numbers["time_ratio_to_1_seed"]) == ["1 seed", "5 seeds", "1 seed again"]
    assert len(seen) == 2 + 1 and all(len(params) == 5 for params in seen)
    first, second = (np.asarray(params) for params in seen[-1][:2])
    assert (first != second).any()  # from the same start, each in its own order


def test_bench_fisher_reports_rates_and_ratios(monkeypatch):
    monkeypatch.setattr(fisher, "NETWORKS", {"tiny": (Part("mlp", {"hidden": 4}), 3)})
    numbers = fisher.bench_fisher(["tiny"], batch_size=2, repeats=2, steps=1).numbers()
    for column in ("images_per_second_of_training", "images_per_second", "time_ratio_to_training_step", "control"):
        assert list(numbers[column]) == ["tiny, {'hidden': 4}, 3x3"] and min(numbers[column].values()) > 0


def test_bench_torch_refuses_without_torch(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refusal, match="bench torch needs torch, which is not installed"):
        bench_torch(2, 4, 1, 1)


def test_bench_torch_runs_the_same_network(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is no dependency of ours; install it to run this")
    ours = build_stage(recipe := complete(bench_recipe("resnet20", 2, 32)), recipe.stages[0]).network.init(0)[0]
    theirs = torch_resnet20(10).parameters()
    assert sum(leaf.size for leaf in jax.tree.leaves(ours)) == sum(leaf.numel() for leaf in theirs)
    monkeypatch.setattr("lifeq_jax.bench.beside_torch.TORCH", {"torch": TORCH["torch"]})  # compiling takes a minute
    numbers = bench_torch(2, 4, 1, 1).numbers()
    assert list(numbers["images_per_second"]) == ["float", "LifeQuant 4-bit", "torch", "float again"]
    assert numbers["torch"] == torch.__version__

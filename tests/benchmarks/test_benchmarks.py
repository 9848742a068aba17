"""Every benchmark runs once, and its numbers mean what they say; how fast is no business of a test."""

import dataclasses
import json
import sys
from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import exported, goal, growth, peers, start, steps, tasks
from benchmarks.__main__ import main
from benchmarks.epochs import epochs, ready
from benchmarks.work import Work, bench_recipe, lifequant, on_noise, operations
from lifeq_jax.core.config import Stage
from lifeq_jax.export.export import export_network
from lifeq_jax.export.integer import run
from lifeq_jax.export.lower import Pixels, lower
from lifeq_jax.layers import convolution, depthwise
from lifeq_jax.models import MODELS
from lifeq_jax.rl import GAMES, make_game
from lifeq_jax.train.abreast import make_abreast
from lifeq_jax.train.build import build_network, complete
from tests.export import networks
from tests.rl.toy import on_host

SMALL = ["--batch-size", "2", "--repeats", "1"]
MLP = ["--model", "mlp", *SMALL]
DIGITS = "lifequant/resnet20_digits"


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """measured(*words) -> the numbers of the benchmark that `python -m benchmarks` runs for these words."""
    monkeypatch.setattr(steps, "COPIED", 2**10)  # the device's ceilings take seconds
    monkeypatch.setattr(steps, "SIDE", 32)
    monkeypatch.setitem(MODELS, "mlp", partial(MODELS["mlp"], hidden=64))  # so do steps of its millions of weights

    def run(*words: str) -> dict:
        assert main([*words, "--json", str(tmp_path / "numbers.json")]) == 0
        return json.loads((tmp_path / "numbers.json").read_text())

    return run


def told(value):
    """Equal as far as numbers are told."""
    return pytest.approx(value, rel=2e-3, abs=2e-3)


def test_step_compares_the_systems_with_float_and_the_device(measured):
    found = measured("step", *MLP, "--steps", "1")
    names = ["float", "LifeQuant 4-bit", "ClimbQ 4-bit", "LSQ 4-bit, freezing", "BLIP", "float again"]
    rate = found["images_per_second"]
    assert list(rate) == names
    assert found["time_ratio_to_float"] == {name: told(rate["float"] / rate[name]) for name in names}
    assert found["processor_ratio_to_float"]["float"] == 1
    # whatever rounds the weights, the products are those of the same network, forward and backward
    assert len(set(found["gigaoperations_per_step"].values())) == 1
    product = found["product_gigaoperations_per_second"]
    for name in names:
        operations = found["gigaoperations_per_step"][name]
        assert found["share_of_product"][name] == pytest.approx(operations * rate[name] / 2 / product, rel=2e-3)
    assert (found["batch_size"], found["alternating_repeats"], found["steps_of_each"]) == (2, 1, 1)


def test_the_systems_are_what_they_are_called():
    recipes = steps.systems("mlp", 2, 4, "bfloat16").values()
    methods = ["finetune", "lifequant", "finetune", "finetune", "blip", "finetune"]
    assert [recipe.method.name for recipe in recipes] == methods
    assert [recipe.stages[0].weight_bits for recipe in recipes] == [32, 4, 4, 4, 32, 32]
    assert [recipe.weight_quantizer.name for recipe in recipes][1:4] == ["proxq", "cdf", "lsq"]
    assert {recipe.precision for recipe in recipes} == {"bfloat16"}


def test_gradients_compares_ours_with_those_of_jax_each_alone(measured, monkeypatch):
    """Each row's step is built where the function of its name, and no other, is JAX's to differentiate."""
    ours = depthwise._depthwise, convolution._convolution

    def step(recipe):
        kept = [now is own for now, own in zip((depthwise._depthwise, convolution._convolution), ours, strict=True)]
        return Work(lambda times: None, 1e9 * (1 + kept[0] + 2 * kept[1]), 1.0, 1.0)

    monkeypatch.setattr(steps, "step_work", step)
    found = measured("gradients", "--model", "resnet8", *SMALL, "--steps", "1")["gigaoperations_per_step"]
    rows = {"ours": 4, "depthwise layers by JAX": 3, "other convolutions by JAX": 2, "ours again": 4}
    assert found == rows


def test_goal_tells_when_each_stage_first_has_the_accuracy():
    seen = [
        goal.Seen("float", 1, 5.0, 70.0, 100.0),
        goal.Seen("float", 2, 8.0, 94.0, 300.0),
        goal.Seen("float", 3, 11.0, 93.0, 200.0),
        goal.Seen("w4a4", 1, 15.0, 93.9, 90.0),
    ]
    assert goal.columns(seen, 94.0) == {
        "best_accuracy": {"float": 94.0, "w4a4": 93.9},
        "epochs_to_goal": {"float": 2},
        "seconds_to_goal": {"float": 8.0},
        "images_per_second": {"float": 200.0, "w4a4": 90.0},
    }


def test_goal_trains_all_stages_of_a_recipe():
    recipe = bench_recipe("mlp", 4, 32).replace({"model.args.hidden": 8})
    stages = Stage("first", 32, 32, 2, 0.01), Stage("second", 4, 4, 1, 0.01)
    with on_noise(dataclasses.replace(recipe, stages=stages), 2) as fed:
        found = goal.bench_goal(fed, 0.0).numbers()
    assert found["epochs_to_goal"] == {"first": 1, "second": 1}
    assert 0 < found["seconds_to_goal"]["first"] < found["seconds_to_goal"]["second"]


def test_operations_by_hand():
    def work(x, kernel):
        def body(carry, _):
            return carry @ jnp.ones((3, 3)), None  # 2 * 2 * 3 * 3

        image = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return image, jax.lax.scan(body, jnp.ones((2, 3)), length=5)[0] + 1

    jaxpr = jax.make_jaxpr(jax.jit(work))(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 7)))
    assert operations(jaxpr) == 2 * (2 * 2 * 7) * (3 * 3 * 3) + 5 * 36


def test_oscillation_compares_the_controls_of_a_recipe_with_overrides(measured, capsys):
    tiny = ["--model.name", "mlp", "--data.batch-size", "2", "--oscillation.name", "freeze"]
    found = measured("oscillation", DIGITS, *tiny, "--repeats", "1", "--steps", "1")
    assert set(found["time_ratio_to_none"]) == {"none", "track", "dampen", "freeze", "none again"}
    assert found["batch_size"] == 2 and "mlp, 4/4 bits" in capsys.readouterr().out


CATCH = ["blip_rl/minatar_pair", "--games.image", "5", "3", "1", "--games.num-envs", "4", "--games.rollout-steps", "8"]


def test_games_compares_a_rollout_in_halves_with_its_parts(measured, monkeypatch):
    monkeypatch.setitem(GAMES, "hosted", lambda name, shape: on_host(make_game(f"catch/{name}", shape)))
    found = measured("games", *CATCH, "--games.names", "hosted/catch", "--repeats", "1", "--steps", "1")
    both, turn = "acting, emulator, in halves", "acting, emulator, in turn"
    rate, ratio = found["steps_per_second"], found["time_ratio_to_halves"]
    assert set(rate) == {"acting", "emulator", both, turn, "learning", "all three", f"{both} again"}
    assert ratio == {name: told(rate[both] / rate[name]) for name in rate}
    parts = ratio["acting"], ratio["emulator"]
    assert found["time_of_acting_and_emulator_alone_to_halves"] == told(sum(parts))
    assert found["most_that_overlap_can_make_it"] == told(sum(parts) / max(parts))
    assert (found["num_envs"], found["rollout_steps"]) == (4, 8)


def test_games_wants_a_game_on_the_host(capsys):
    assert main(["games", *CATCH, "--games.names", "catch/catch"]) == 2
    assert "games.names: catch/catch is compiled with the agent; choose a game on the host" in capsys.readouterr().err


def test_epoch_compares_an_epoch_with_its_steps(measured):
    found = measured("epoch", *MLP, "--steps", "3")
    rate, alone = found["images_per_second"], found["images_per_second_of_steps_alone"]
    assert list(rate) == ["mlp, float", "mlp, LifeQuant 4-bit"]
    assert found["share_of_step_rate"] == {name: told(rate[name] / alone[name]) for name in rate}
    assert min(found["control"].values()) > 0 and found["steps_of_an_epoch"] == 3


def test_seeds_compares_five_with_one(measured):
    found = measured("seeds", *MLP, "--steps", "2")
    rate, ratio = found["images_per_second"], found["time_ratio_to_1_seed"]
    assert list(rate) == ["1 seed", "5 seeds", "1 seed again"]
    assert ratio["5 seeds"] == told(5 * rate["1 seed"] / rate["5 seeds"])
    assert ratio["1 seed again"] == told(rate["1 seed"] / rate["1 seed again"])


def test_epochs_go_on_from_each_other_and_each_seed_has_its_own_order(monkeypatch):
    monkeypatch.setitem(MODELS, "mlp", partial(MODELS["mlp"], hidden=64))
    stage, seeds = ready(complete(lifequant("mlp", 2, 4)), number=2, steps=3)
    train, states = make_abreast(stage, [seed.world for seed in seeds]).train, []

    def compute(asks):
        answers = train(asks)
        states[:] = [state for state, _ in answers]
        return answers

    epochs(stage, seeds, compute)(2)
    assert [int(state.step) for state in states] == [2 * 3] * 2
    first, second = (np.asarray(jax.tree.leaves(state.params)[0]) for state in states)
    assert (first != second).any()


@pytest.mark.parametrize("names", [["resident", "tf.data"], ["resident"]])
def test_input_compares_the_inputs_that_are_installed(measured, monkeypatch, names):
    if "tf.data" not in names:
        monkeypatch.setitem(sys.modules, "tensorflow", None)  # as where it is not installed
    found = measured("input", *MLP, "--steps", "2")
    rate = found["images_per_second"]
    waiting = {
        f"{name} feeding steps": told(1 - rate[f"{name} feeding steps"] / rate[f"{name} with feeds at hand"])
        for name in names
    }
    assert found["waiting_share"] == waiting and all(rate[f"{name} alone"] > 0 for name in names)
    assert ("tf.data" in found) == ("tf.data" not in names)


def test_tasks_compares_the_first_the_middle_and_the_last(measured, monkeypatch):
    monkeypatch.setattr(tasks, "GROUP", 2)
    found = measured("tasks", "--tasks", "6", "--batch-size", "2")
    rows = [f"{name}, tasks {where}" for name in ("EWC", "LifeQuant") for where in ("2 to 3", "3 to 4", "5 to 6")]
    for column in ("resident_megabytes", "processor_seconds", "open_files"):
        assert list(found[column]) == rows and min(found[column].values()) > 0
    assert (found["tasks"], found["batch_size"], found["bits"]) == (6, 2, 4)


def test_a_group_of_tasks_is_told_by_its_largest_and_its_middle():
    seen = [(900.0, 1.0, 90), (5.0, 2.0, 7), (8.0, 2.5, 8), (6.0, 5.5, 6)]  # the first is the end of the task before
    assert tasks._of(seen) == {"resident_megabytes": 8.0, "processor_seconds": 1.0, "open_files": 8}


def test_compile_divides_the_time_of_fresh_processes(measured):
    found = measured("compile", *MLP)
    for cache in ("cold", "warm", "warm again"):
        parts = [found[part][cache] for part in start.PARTS]
        assert min(parts) > 0 and sum(parts) == pytest.approx(found["total"][cache], abs=0.05)
        assert found["processor"][cache] > 0


def test_fisher_compares_with_a_training_step(measured):
    found = measured("fisher", "--model", "alexnet_32", *SMALL, "--steps", "1")
    (name,) = found["images_per_second"]
    assert name == "alexnet_32, {'mul': 2.0}, 32x32"
    ratio = found["images_per_second_of_training"][name] / found["images_per_second"][name]
    assert found["time_ratio_to_training_step"][name] == told(ratio) and found["control"][name] > 0


@pytest.mark.parametrize(
    ("over", "sizes", "model", "names"),
    [
        ("batch", ("BATCHES", (2, 4)), "mlp", ["batch 2", "batch 4"]),
        ("width", ("WIDTHS", (1, 2)), "resnet8", ["width 1", "width 2"]),
        ("methods", ("METHODS", {"blip": None, "derpp": None}), "mlp", ["finetune", "blip", "derpp", "finetune again"]),
        ("seeds", ("SEEDS", (1, 3)), "mlp", ["1 seeds", "3 seeds"]),
        ("rows", ("ROWS", (20, 200)), "mlp", ["20 rows", "200 rows"]),
        ("runs", ("RUNS", (1, 3)), "mlp", ["1 runs", "3 runs"]),
        ("cells", ("CELLS", (1, 3)), "mlp", ["1 cells", "3 cells"]),
    ],
)
def test_growth_has_a_row_for_each_size(measured, monkeypatch, over, sizes, model, names):
    monkeypatch.setattr(growth, *sizes)
    found = measured("growth", over, "--model", model, *SMALL, "--steps", "1")
    columns = {name: column for name, column in found.items() if isinstance(column, dict)}
    assert len(columns) >= 2
    for column in columns.values():
        assert list(column) == names and min(column.values()) > 0


@pytest.mark.skipif(any(map(find_spec, peers.LIBRARIES)), reason="a peer is installed")
def test_peers_are_refused_where_none_is_installed(capsys):
    assert main(["peers", *SMALL]) == 2
    assert "none of torch, brevitas, qwix is installed" in capsys.readouterr().err


@pytest.mark.parametrize("model", peers.MODELS)
def test_peers_train_networks_of_as_many_parameters(model):
    torch_peers = pytest.importorskip("benchmarks.peers_torch", reason="torch is not installed")
    recipe = complete(bench_recipe(model, 2, 32))
    ours = build_network(recipe, recipe.stages[0]).init(0)[0]
    theirs = torch_peers.NETWORKS[model](torch_peers.float_layers()).parameters()
    assert sum(leaf.size for leaf in jax.tree.leaves(ours)) == sum(leaf.numel() for leaf in theirs)


def test_the_hand_written_lsq_has_the_values_and_gradients_of_its_paper():
    torch_peers = pytest.importorskip("benchmarks.peers_torch", reason="torch is not installed")
    lsq, x = torch_peers.LSQ(2, signed=True), torch_peers.torch.tensor([-3, -1.2, 0.4, 0.7, 2.5], requires_grad=True)
    lsq.begun = True  # scale 1
    rounded = lsq(x)
    assert rounded.tolist() == [-2, -1, 0, 1, 1]
    rounded.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    assert lsq.scale.grad.item() == pytest.approx((-2 + 0.2 - 0.4 + 0.3 + 1) * 5**-0.5)


def test_export_compares_the_files_with_a_float_network(measured, tmp_path):
    export_network(
        networks.made(networks.NETWORKS["resnet"]),
        networks.about(networks.SHAPE),
        tmp_path / "out",
        ["onnx", "int8"],
        [],
    )
    found = measured("export", str(tmp_path / "out"), "--repeats", "1", "--steps", "1")
    names = ["float ONNX", "exact ONNX", "int8 ONNX", "float ONNX again"]
    times = found["milliseconds"]
    assert list(times) == [f"{name}, batch {batch}" for batch in (1, 64) for name in names]
    for name in names:
        assert found["time_ratio_to_float"][f"{name}, batch 64"] == told(
            times[f"{name}, batch 64"] / times["float ONNX, batch 64"]
        )
    assert int(found["bytes of model.onnx"]) == (tmp_path / "out" / "model.onnx").stat().st_size


def test_the_float_network_computes_what_the_integers_stand_for(tmp_path):
    """Its activations are not rounded: each logit is within what rounding can do, and most are near."""
    network = networks.made(networks.NETWORKS["resnet"], bits=7)
    numbers = networks.spec_of(networks.SHAPE).numbers()
    program = lower(*network, Pixels(networks.SHAPE, numbers)).program
    image = networks.pixels(20, networks.SHAPE)
    found = exported._session(exported.FloatWriter(program).write()).run(None, {"image": image})[0]
    np.testing.assert_allclose(found, run(program, image), rtol=0, atol=0.05 * np.abs(found).max())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export nowhere", "nowhere/manifest.json does not exist"),
        ("step --bits 9", "stage.weight_bits=9"),
        ("step --precision float16", "recipe.precision='float16'"),
        (f"goal {DIGITS} --accuracy 101", "accuracy=101 is out of range"),
        ("step --model resnet21", "resnet21"),
        ("step --batch-size 0", "batch_size=0"),
        ("step --seed 1", "unrecognized arguments: --seed 1"),
        ("epoch --model resnet21", "resnet21"),
        ("epoch --model mlp --steps 0", "steps=0"),
        ("seeds --model mlp --steps 0", "steps=0"),
        ("input --model mlp --repeats 0", "repeats=0"),
        ("compile --model resnet21", "resnet21"),  # before it starts a process
        ("tasks --tasks 29", "tasks=29 is out of range; choose 30 or more"),
        ("tasks --batch-size 0", "batch_size=0"),
        ("fisher --model vgg", "model='vgg' is unknown; choose from alexnet_32, resnet18_84"),
        (f"oscillation {DIGITS} --bits 4", "recipe.bits is an unknown key"),
        ("growth age", "over='age' is unknown; choose from batch, cells, methods, rows, runs, seeds, width"),
        ("peers --model mlp", "model='mlp' is unknown; choose from mobilenet_v2_32, resnet20"),
        ("speed", "invalid choice: 'speed'"),
    ],
)
def test_refusals_are_one_line_and_exit_with_2(words, said, capsys):
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert said in err and err.startswith("python -m benchmarks: ") and err.count("\n") == 1


def test_help_exits_with_0(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0 and "usage: python -m benchmarks" in capsys.readouterr().out

"""The benchmark lqcl: what its rows change, that test images choose nothing, what its tables say."""

import json
from pathlib import Path

import numpy as np
import pytest

import lifeq_jax as lq
from benchmarks import lqcl_data
from benchmarks.lqcl import complete_row
from benchmarks.lqcl_data import SEQUENCES, few_shot_classes, prepare_sequence
from benchmarks.lqcl_rows import REFERENCE, ROWS, row_recipe
from benchmarks.lqcl_table import ablation, cost, overall, table
from lifeq_jax import Part
from lifeq_jax.core.config import digest
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.tables import read_image_table
from lifeq_jax.train.build import build_stage, complete

RESULTS = Path(__file__).parents[2] / "results/lqcl"

pytest.importorskip("optuna", reason="the extra `search` is not installed")


def paths_of(csv):
    return set(read_image_table(csv).path.tolist())


@pytest.fixture(scope="module")
def long_tail(tmp_path_factory):
    """A small recipe of the sequence digits_long_tail, in the folder that its paths are relative to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("lqcl"))
        prepare_sequence("digits_long_tail")
        yield lq.load_recipe("benchmark/digits_long_tail").replace(
            {"model": Part("mlp", {"hidden": 8}), "stages.0.epochs": 1, "stages.1.epochs": 1}
        )


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_every_row_can_be_built_and_differs_from_the_others(sequence):
    recipe = lq.load_recipe(f"benchmark/{sequence}")
    made = {row: complete(row_recipe(recipe, row, bits=2)) for row in ROWS if row != "best"}
    for one in made.values():
        build_stage(one, one.stages[-1])
    assert len({digest(one) for one in made.values()}) == len(made)
    assert made[REFERENCE].method.name == "finetune" and made[REFERENCE].data.replay
    assert made["joint"].data.csv == f"data/lqcl/{sequence}/all"
    assert {one.stages[-1].weight_bits for row, one in made.items() if row not in ("float", "blip", "blip_ball")} == {2}
    assert {one.data.evaluate_on for one in made.values()} == {"test"} and recipe.data.validation > 0


def test_no_test_image_is_trained_on_and_the_bound_replays_all(long_tail):
    for task in range(3):
        train = paths_of(f"data/lqcl/digits_long_tail/part_train{task}.csv")
        assert not train & paths_of(f"data/lqcl/digits_long_tail/part_test{task}.csv")
        assert paths_of(f"data/lqcl/digits_long_tail/all_replay{task}.csv") == train
        assert 0 < len(paths_of(f"data/lqcl/digits_long_tail/part_replay{task}.csv")) < len(train) / 4


def test_few_shot_classes_have_less_than_half_of_the_largest(long_tail):
    few = few_shot_classes(long_tail.data)
    names = ["part_train2", "part_replay0", "part_replay1"]
    labels = [read_image_table(f"data/lqcl/digits_long_tail/{name}.csv").label for name in names]
    counts = np.bincount(np.concatenate(labels), minlength=10)
    assert 0 < len(few) < 10 and {*few} == {k for k in range(10) if 0 < counts[k] < counts.max() / 2}
    assert not len(few_shot_classes(lq.load_recipe("benchmark/mnist_permuted").data))


def test_a_row_is_searched_on_validation_images_then_measured_once(long_tail, tmp_path):
    file = tmp_path / "ewc.json"
    complete_row(file, long_tail, "ewc", 4, [0], trials=2)
    known = json.loads(file.read_text())
    assert len(known["search"]["trials"]) == 2 and set(known["search"]["values"]) == {
        "stages.-1.learning_rate",
        "method.args.strength",
    }
    searched = lq.read("runs/lqcl/benchmark_digits_long_tail/ewc/search").finished
    assert {(run.recipe.data.evaluate_on, run.recipe.data.validation) for run in searched} == {("validation", 0.2)}
    [measured] = lq.read("runs/lqcl/benchmark_digits_long_tail/ewc/4bit").finished
    assert (measured.recipe.data.evaluate_on, measured.recipe.data.validation) == ("test", 0.0)
    assert measured.recipe.seed not in {run.recipe.seed for run in searched}
    assert measured.recipe.method.args["strength"] == known["search"]["values"]["method.args.strength"]
    few = few_shot_classes(long_tail.data)
    classes = measured.classes
    assert known["runs"][0]["few_shot"] == pytest.approx(
        np.mean(classes.correct.sum(0)[few] / classes.images.sum(0)[few])
    )
    before = file.stat().st_mtime_ns
    complete_row(file, long_tail, "ewc", 4, [0], trials=2)
    assert file.stat().st_mtime_ns == before
    complete_row(file, long_tail, "ewc", 2, [1], trials=2)  # the search is not repeated
    again = json.loads(file.read_text())
    assert again["search"] == known["search"] and [run["bits"] for run in again["runs"]] == [4, 2]


def test_the_table_pairs_each_seed_with_that_of_the_reference():
    def row(*accuracies, validation):
        runs = [
            {"bits": 4, "seed": seed, "status": "finished", "average_accuracy": accuracy, "forgetting": 0.1}
            | {"few_shot": None, "bytes": 7, "seconds": 3.0}
            for seed, accuracy in enumerate(accuracies)
        ]
        return {
            "runs": runs,
            "search": {
                "values": {"stages.-1.learning_rate": 0.05, "loss": {"name": "x", "args": {}}},
                "trials": [{"average_accuracy": validation}],
            },
        }

    lost = row(0.5, validation=0.1)
    lost["runs"].append({"bits": 4, "seed": 1, "status": "diverged: in step 3"})
    lines = table(
        {
            REFERENCE: row(0.5, 0.7, validation=0.4),
            "ewc": row(0.6, 0.9, validation=0.3),
            "si": lost,
            "joint": row(0.2, validation=0.9),
        },
        4,
    ).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")][2:]
    assert lines[0] == f"Chosen by validation images: `{REFERENCE}`."  # joint is a bound
    assert [one[0] for one in cells] == ["ewc", REFERENCE, "si", "joint"]
    assert cells[0][1:5] == ["2", "75.00 ± 21.21", "15.00 ± 7.07", "-15.00 ± 7.07"] and cells[1][3:5] == ["", ""]
    assert cells[0][-1] == "learning_rate 0.05, loss x"
    assert lines[-1] == "- si: 1, diverged: in step 3"


RECIPES = [("best", "lsq_ball", sequence) for sequence in SEQUENCES] + [
    ("derpp", "lsq_ball_derpp", sequence) for sequence in ("digits", "mnist_permuted")
]


@pytest.mark.parametrize(("kind", "row", "sequence"), RECIPES)
def test_a_recipe_of_a_row_has_the_parts_and_settings_of_its_search(kind, row, sequence):
    found = json.loads((RESULTS / sequence / f"{row}.json").read_text())["search"]["values"]
    rounded = {key: float(f"{value:.2g}") for key, value in found.items()}
    made = row_recipe(lq.load_recipe(f"benchmark/{sequence}"), row).replace(rounded)
    assert lq.load_recipe(f"benchmark/{kind}_{sequence}") == made.replace({"name": f"benchmark_{kind}_{sequence}"})


def test_a_search_costs_as_many_runs_as_it_has_trials():
    def row(seconds, trials):
        runs = [{"status": "finished", "seconds": 3600.0 * hours} for hours in seconds]
        return {"runs": [*runs, {"status": "diverged: in step 3"}], "search": {"trials": [{}] * trials}}

    said = cost([row((0.5, 1.5), 3), row((2.0,), 1), row((), 10)])
    assert "The 3 runs below took 4.0 hours" in said and "The 4 trials" in said and "would take 5.0 more" in said


def test_over_all_sequences_the_best_trials_count():
    def row(*accuracies):
        trials = [{"average_accuracy": accuracy, "status": "finished"} for accuracy in accuracies]
        return {"runs": [], "search": {"trials": [*trials, {"status": "diverged: in step 3"}]}}

    found = {
        "one": {REFERENCE: row(0.5, 0.4), "si": row(0.6), "ewc": row(0.9)},
        "two": {REFERENCE: row(0.3), "si": row(0.4)},
    }
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in overall(found).splitlines()]
    assert lines[0] == ["row", "one", "two", "mean"]
    assert lines[2:] == [
        ["si", "60.00", "40.00", "50.00"],
        [REFERENCE, "50.00", "30.00", "40.00"],
        ["ewc", "90.00", "", ""],
    ]


def test_the_ablation_pairs_each_row_with_the_whole():
    def row(*accuracies):
        runs = [{"bits": 4, "seed": s, "status": "finished", "average_accuracy": a} for s, a in enumerate(accuracies)]
        return {"runs": runs}

    lines = ablation({"one": {"lsq_ball": row(0.8, 0.9), "ball": row(0.7, 0.6)}, "two": {}}).splitlines()
    cells = {line.split("|")[1].strip(): [one.strip() for one in line.split("|")[2:-1]] for line in lines[2:]}
    assert cells["ball"] == ["-20.00 ± 14.14", ""] and cells["lsq"] == ["", ""]


def test_missing_images_are_refused_with_the_way_to_get_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match="data/mnist holds no images; put them there as <split>/<class>/<file>, or `life"):
        prepare_sequence("mnist_pairs")
    assert not (lqcl_data.FOLDER / "mnist_pairs/done").exists()

"""What a run folder says comes back unchanged, and a damaged one is refused in one line that names the file."""

import dataclasses
import json

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.classes import most_training_images, read_classes
from lifeq_jax.runs.columns import CLASS_COLUMNS, CLASSES, CONFUSION, DISTANCES, LAYERS, METRICS
from lifeq_jax.runs.folder import CONFIG, MATRIX, SUMMARY, write_diverged
from lifeq_jax.runs.layers import read_layers
from lifeq_jax.runs.read import read_run, read_runs
from tests.runs import folders
from tests.runs.folders import CORRECT, LAYER_BITS, SHARES, SIZES, make_run, recipe, rewrite

JSON, CSV = (CONFIG, SUMMARY), (MATRIX, METRICS, DISTANCES, CLASSES, CONFUSION, LAYERS)


@pytest.fixture
def folder(tmp_path):
    """A run that measured everything."""
    return make_run(tmp_path / "run", lower=0.25, sizes=SIZES, more=0)


def refusal(read, *args):
    with pytest.raises(Refusal) as refused:
        read(*args)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    return str(refused.value)


def test_reads_what_was_written(tmp_path):
    run = read_run(str(make_run(tmp_path / "run", recipe(seed=7))))
    assert (run.folder, run.recipe) == (tmp_path / "run", recipe(seed=7))
    np.testing.assert_array_equal(run.matrix, folders.MATRIX)
    assert run.stages == {"float": (0.9, 0.1, 0.0), "four": (0.5, 0.85, 0.7)}
    assert (run.seconds, run.commit, run.machine) == (61.5, "abc1234", "2 cores")
    assert run.network[:2] + run.network[3:] == (1000, 1250, 250.0)
    assert run.network.layers["stem/act"] == (None, 4, 0)
    expected = np.zeros((10, 10), int)
    for label, right in enumerate(np.sum(list(CORRECT.values()), axis=0), start=1):
        expected[label, label : label + 2] = right, 60 - right
    np.testing.assert_array_equal(run.confusion, expected)
    np.testing.assert_array_equal(run.history.images_per_second, [100.0, 200.0] * 4)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"network": None}, "network=None is missing or not an object"),
        ({"network": {"parameters": -1}}, "network.parameters=-1 is not a whole number"),
        ({"network": {"parameters": 1, "bytes": 1, "layers": {"a": [4, "x", 1]}}}, "network.layers.a=[4, 'x', 1] is"),
        ({"peak_megabytes": "much"}, "peak_megabytes='much' is missing or not a number from 0"),
    ],
)
def test_sizes_that_are_none_are_refused(folder, change, line):
    path = folder / SUMMARY
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert refusal(read_run, folder).startswith(f"{path}: {line}")


def test_the_matrix_keeps_every_digit_and_tasks_to_come_may_be_empty(tmp_path):
    matrix = [[1 / 3, np.nan], [0.1, 2 / 3]]
    folder = make_run(tmp_path / "run", recipe(tasks=2), [[1 / 3, 0.0], [0.1, 2 / 3]])
    rewrite(folder / MATRIX, lambda row: row | ({"task_1": ""} if row["task_1"] == "0.0" else {}))
    np.testing.assert_array_equal(read_run(folder).matrix, matrix)


def test_history_by_hand(folder):
    history = read_run(folder).history
    assert history.stage == ("float", "float", *["four"] * 6)
    assert history.task == (0, 0, 0, 0, 1, 1, 2, 2)
    ends = np.array([folders.MATRIX[0], *folders.MATRIX])
    assert np.isnan([history.accuracy[::2], history.running_accuracy[::2]]).all()
    np.testing.assert_array_equal(history.accuracy[1::2], ends)
    np.testing.assert_allclose(history.running_accuracy[1::2], 0.75 * ends)
    np.testing.assert_array_equal(history.oscillating, [np.nan] * 4 + SHARES["oscillating"])
    np.testing.assert_array_equal(history.frozen, [np.nan] * 4 + SHARES["frozen"])


def test_distances_by_hand(folder):
    largest = 10**15 - 1
    rewrite(folder / DISTANCES, lambda row: row | {"bin_3": largest})
    distances = read_run(folder).distances
    assert distances.stage == ("float", "four", "four")
    assert (distances.task, distances.epoch) == ((0, 0, 0), (1, 1, 2))
    expected = np.zeros((3, 20), int)
    expected[[0, 1, 2], [5, 0, 10]] = 8
    expected[:, 3] = largest
    np.testing.assert_array_equal(distances.counts, expected)


def test_classes_by_hand(folder):
    classes = read_run(folder).classes
    assert [table.shape for table in classes] == [(3, 10)] * 3
    for task in range(3):
        np.testing.assert_array_equal(classes.train_images[task, 1:5], SIZES[task])
        np.testing.assert_array_equal(classes.correct[task, 1:5], CORRECT[task])
        np.testing.assert_array_equal(classes.images[task], [0, 20, 20, 20, 20, 0, 0, 0, 0, 0])
    assert classes.train_images[:, 0].tolist() == [7, 0, 0]
    assert classes.train_images[:, 5:].max() == classes.correct[:, 5:].max() == 0


def test_layers_by_hand(folder):
    layers = read_run(folder).layers
    assert list(layers) == [0, 1, 2]
    for task, measured in layers.items():
        assert measured.keys() == LAYER_BITS.keys()
        for name, (values, bits, units, dead) in LAYER_BITS.items():
            expected = {"bits": bits[task], "capacity": bits[task] / 20, "values": values}
            assert measured[name] == expected | ({"units": units, "dead_units": dead[task]} if units else {})


def test_other_quantities_of_layers_are_kept(folder):
    with (folder / LAYERS).open("a") as file:
        file.write("four,2,stem/dense/kernel,drift,-2.5\n")
    assert read_run(folder).layers[2]["stem/dense/kernel"]["drift"] == -2.5


def test_a_run_that_measured_nothing(tmp_path):
    run = read_run(make_run(tmp_path / "run"))
    assert run.layers == {} and run.distances.stage == () and run.distances.counts.shape == (0, 20)
    history = run.history
    assert np.isnan(history.running_accuracy).all() and np.isnan([history.oscillating, history.frozen]).all()


def test_a_stage_of_fewer_tasks_leaves_the_others_out(folder):
    config = dataclasses.replace(recipe(), stages=recipe().stages[:1])
    classes = read_classes(folder / CLASSES, config, 1)
    assert classes.images.shape == (1, 10) and classes.correct.sum() == 0
    layers = read_layers(folder / LAYERS, config, 1)
    assert list(layers) == [0] and layers[0]["stem/dense/kernel"]["bits"] == 6


@pytest.mark.parametrize("name", [*JSON, *CSV])
def test_a_file_that_is_gone_or_no_text_is_refused(folder, name):
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(read_run, folder) == f"{path}, byte 0: not UTF-8 text"
    path.write_bytes(b"\xef\xbb\xbf" + whole)
    heading = whole.decode().partition(",")[0].strip()
    marked = ", line 1: not JSON: Unexpected UTF-8 BOM" if name in JSON else f"1 is '\\ufeff{heading}'; it must be"
    assert refusal(read_run, folder).startswith(str(path)) and marked in refusal(read_run, folder)
    path.unlink()
    assert refusal(read_run, folder).startswith(f"{path} does not exist; ")
    path.mkdir()
    assert refusal(read_run, folder) == f"{path} cannot be read: Is a directory"


@pytest.mark.parametrize("given", ["nowhere", "file"])
def test_what_is_no_run_folder_is_refused(tmp_path, given):
    (tmp_path / "file").write_text("{}")
    for read in (read_run, lambda path: read_runs([path])):
        path = tmp_path / given
        assert refusal(read, path) == f"{path / CONFIG} does not exist; is {path} a run folder?"


NESTED = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        *((text, ", line 1: not JSON: ") for text in ("", "{", "{finished: true}")),
        *((text, " does not say finished: true; ") for text in ("[]", "{}", "3", '{"finished": 1}')),
        ('{"finished": true}', ": name=None is missing or of another type"),
        (NESTED, " is not JSON: maximum recursion depth"),
        ("1" * 5000, " is not JSON: Exceeds the limit"),
    ],
)
def test_a_summary_that_is_no_record_is_refused(folder, text, line):
    (folder / SUMMARY).write_text(text)
    assert refusal(read_run, folder).startswith(f"{folder / SUMMARY}{line}")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"finished": False}, " does not say finished: true; "),
        ({"stages": [1]}, ": stages=[1] is missing or of another type"),
        ({"seconds": None}, ": seconds=None is missing or of another type"),
        ({"seconds": float("nan")}, ": seconds=nan is not a time"),
        ({"commit": 3}, ": commit=3 is missing or of another type"),
        ({"metrics": {"bwt": "0.5"}}, ": metrics.bwt='0.5' is not a number from -1 to 1"),
        ({"metrics": {"bwt": True}}, ": metrics.bwt=True is not a number from -1 to 1"),
        ({"metrics": {"average_accuracy": 1.3}}, ": metrics.average_accuracy=1.3 is not a number from -1 to 1"),
        ({"metrics": {"bwt": float("nan")}}, ": metrics.bwt=nan is not a number from -1 to 1"),
        ({"stages": {"four": [0.5, 1.5]}}, ": stages.four=[0.5, 1.5] is not a list of accuracies from 0 to 1"),
        ({"stages": {"four": "much"}}, ": stages.four='much' is not a list of accuracies from 0 to 1"),
    ],
)
def test_a_value_of_a_summary_is_refused(folder, change, line):
    path = folder / SUMMARY
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert refusal(read_run, folder).startswith(f"{path}{line}")


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("pad", -1, "data.pad=-1 is out of range; choose from 0 to 512"),
        ("pad", [], "data.pad=[] is not of type int"),
        ("crop", [8, 8, 8], "data.crop=(8, 8, 8) is not of type tuple[int, int]"),
        ("std", [10**400], "data.std="),
        ("padding", 1, "recipe.data.padding is an unknown key; choose from "),
    ],
)
def test_a_value_of_a_recipe_is_refused_with_its_file(folder, key, value, line):
    path = folder / CONFIG
    plain = json.loads(path.read_text())
    plain["data"][key] = value
    path.write_text(json.dumps(plain))
    assert refusal(read_run, folder).startswith(f"{path}: {line}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (NESTED, " is not JSON: maximum recursion depth"),
        ("[]", ": recipe=[] is not an object with keys"),
        ("{}", ": recipe: Recipe.__init__() missing"),
    ],
)
def test_a_recipe_that_is_no_record_is_refused(folder, text, line):
    (folder / CONFIG).write_text(text)
    assert refusal(read_run, folder).startswith(f"{folder / CONFIG}{line}")


def of(change, **where):
    """The change of rows that say `where`."""
    return lambda row: (row | change if change else None) if where.items() <= row.items() else row


STEM = "stem/dense/kernel"


@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        (MATRIX, of({"task_0": "half"}), ", row 1: task_0='half' is not a number"),
        (MATRIX, of({"task_0": "91.5"}), ", row 1: task_0='91.5' is not a share from 0 to 1"),
        (MATRIX, of({"task_0": "nan"}), ": the accuracy matrix holds nan after task 0 on task 0; it must be finite"),
        (MATRIX, of({}, task_0="0.5"), " has 2 rows; the last stage of the recipe has 3 tasks"),
        (MATRIX, of({"task_3": "0"}), ": the heading of column 4 is 'task_3'; it must be ''"),
        (METRICS, of({"task": "first"}), ", row 1: task='first' is not a whole number"),
        (METRICS, of({"task": "-1"}), ", row 1: task='-1' is not a whole number"),
        (METRICS, of({"accuracy_0": "2"}), ", row 1: accuracy_0='2' is not a share from 0 to 1"),
        (METRICS, of({"oscillating": "-0.1"}, epoch="2"), ", row 2: oscillating='-0.1' is not a share from 0 to 1"),
        (METRICS, of({"frozen": "many"}), ", row 1: frozen='many' is not a number"),
        (METRICS, of({"running_accuracy_0": "91"}), ", row 1: running_accuracy_0='91' is not a share from 0 to 1"),
        (METRICS, lambda row: dict(reversed(row.items())), ": the heading of column 1 is 'frozen'; it must be 'stage'"),
        (DISTANCES, of({"epoch": "x"}, epoch="2"), ", row 3: epoch='x' is not a whole number"),
        (DISTANCES, of({"task": ""}), ", row 1: task='' is not a whole number"),
        (DISTANCES, of({"bin_0": "0.5"}), ", row 1: bin_0='0.5' is not a whole number"),
        (DISTANCES, of({"bin_19": 10**15}), f", row 1: bin_19='{10**15}' is not a whole number"),
        (DISTANCES, of({"bin_20": "0"}), ": the heading of column 24 is 'bin_20'; it must be ''"),
        (CLASSES, of({"class": "one"}), ", row 1: class='one' is not a whole number"),
        (CLASSES, of({"correct": ""}), ", row 1: correct='' is not a whole number"),
        (CLASSES, of({"class": "10"}, **{"class": "1"}), ", row 2: class=10 is out of range; choose from 0 to 9"),
        (CLASSES, of({"correct": "21"}, images="20"), ", row 2: correct=21 is more than images=20"),
        (CLASSES, of({"stage": "float"}), " lacks rows of stage four after task 2"),
        (CLASSES, of({}, after="2", task="2"), " lacks rows of stage four after task 2"),
        (CONFUSION, of({"images": "x"}), ", row 1: images='x' is not a whole number"),
        (CONFUSION, of({"predicted": "10"}), ", row 1: predicted=10 is out of range; choose from 0 to 9"),
        (CONFUSION, of({"stage": "float"}), " lacks rows of stage four after task 2"),
        (METRICS, of({"images_per_second": "-1"}), ", row 1: images_per_second='-1' is not a number from 0"),
        (LAYERS, of({"after": "x"}), ", row 1: after='x' is not a whole number"),
        (LAYERS, of({"value": "few"}), f", row 1: bits of {STEM}, value='few' is not a number"),
        (LAYERS, of({"quantity": "drift", "value": "nan"}), f", row 1: drift of {STEM}, value='nan' is not finite"),
        (
            LAYERS,
            of({"value": "1.5"}, quantity="capacity"),
            f", row 2: capacity of {STEM}, value='1.5' is out of range; it must be from 0 to 1",
        ),
        (
            LAYERS,
            of({"value": "0"}, quantity="units"),
            f", row 4: units of {STEM}, value='0' is out of range; it must be 1 or more",
        ),
        (LAYERS, of({}, stage="four", after="1"), " lacks rows of stage four after task 1"),
        (LAYERS, of({}, stage="four"), " lacks rows of stage four after task 0"),
        (LAYERS, of({}, after="1", quantity="values", layer=STEM), f" lacks values of {STEM} after task 1"),
        (LAYERS, of({}, stage="four", after="0", layer=STEM), f" lacks bits of {STEM} after task 0"),
        (LAYERS, of({}, layer=STEM), f" lacks bits of {STEM} after task 0"),  # its bias is there
        (LAYERS, of({}, quantity="dead_units", layer=STEM), f" lacks dead_units of {STEM} after task 0"),
        (
            LAYERS,
            of({"value": "4"}, quantity="dead_units", after="1", layer=STEM),
            f": dead_units=4 of {STEM} after task 1 is more than units=3",
        ),
    ],
)
def test_damaged_rows_are_refused(folder, name, change, line):
    rewrite(folder / name, change)
    assert refusal(read_run, folder) == f"{folder / name}{line}"


@pytest.mark.parametrize("name", CSV)
def test_rows_that_do_not_fit_the_header_are_refused(folder, name):
    path = folder / name
    header = path.read_text().splitlines()[0]
    path.write_text("")
    assert refusal(read_run, folder) == f"{path} has no rows"
    path.write_text(f"{header}\nfour,1\n")
    assert refusal(read_run, folder) == f"{path}, row 1: 2 values under {len(header.split(','))} headings"
    path.write_text(f'{header}\n"{"x" * 200_000}"\n')
    assert refusal(read_run, folder).startswith(f"{path} is not CSV: field larger than")
    path.write_text(f"{header}\n")
    if name not in (DISTANCES, LAYERS):  # these may be of runs that measured nothing
        assert refusal(read_run, folder).startswith(str(path))


def test_the_finished_runs_of_folders_and_why_the_others_are_not(tmp_path):
    runs = [make_run(tmp_path / "both" / f"seed{seed}", recipe(seed=seed)) for seed in (10, 9)]
    others = [make_run(tmp_path / name, finished=False) for name in ("both/seed3", "alone")]
    write_diverged(others[0], "because")
    found, left = read_runs([tmp_path / "both", others[1], make_run(tmp_path / "last")])
    assert [run.folder for run in found] == [runs[1], runs[0], tmp_path / "last"]
    assert left == [(others[0], "diverged: because"), (others[1], "unfinished")]
    said = f"no run is finished: {others[0]} (diverged: because), {others[1]} (unfinished)"
    assert refusal(read_runs, others) == said
    assert refusal(read_runs, []) == "no run folder was given; name at least one"


ROWS = "a,0,0,0,9,1,1\na,0,1,0,5,1,1\na,0,1,1,8,1,1\nb,0,0,0,3,1,1\n"  # after task 0 task 1 was scored too
LATER = "a,1,0,0,9,1,1\na,1,1,0,5,1,1\na,1,1,1,8,1,1\na,1,2,2,4,1,1\n"


@pytest.mark.parametrize(
    ("rows", "stage", "most"),
    [
        (ROWS, "a", [9, 0, 0]),
        (ROWS, "b", [3, 0, 0]),
        (ROWS + LATER, "a", [9, 8, 0]),
        (ROWS, "c", None),
        ("", "a", None),
    ],
)
def test_training_images_are_the_most_of_any_finished_task(tmp_path, rows, stage, most):
    (tmp_path / CLASSES).write_text(",".join(CLASS_COLUMNS) + "\n" + rows)
    found = most_training_images(tmp_path / CLASSES, stage, 3)
    assert most is found if most is None else found.tolist() == most


@pytest.mark.parametrize("row", ["a,0,0,3,9,1,1", "a,0,0,one,9,1,1", "a,0,0,1,,1,1", "a,0,0,1,9,1,2", "a,0"])
def test_training_images_of_a_damaged_row_are_refused(tmp_path, row):
    (tmp_path / CLASSES).write_text(",".join(CLASS_COLUMNS) + f"\n{row}\n")
    assert refusal(most_training_images, tmp_path / CLASSES, "a", 3).startswith(f"{tmp_path / CLASSES}, row 1: ")

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.tables import (
    BrokenImage,
    ImageTable,
    Rows,
    catalog,
    class_counts_of,
    concat_rows,
    held_out,
    load_tasks,
    naming_rows,
    read_image_table,
    rows_for_seed,
    rows_of,
    table_of,
    task_csv,
    task_csvs,
    task_rows,
    write_table,
)
from lifeq_jax.data.walk import list_images

GOLDEN_CSV = pathlib.Path(__file__).parent.parent / "golden" / "csv"
GOOD = "image,label\ntrain/a/0000.png,0\ntrain/b/0000.png,1\n"


def equal(a, b):
    return all(np.array_equal(x, y) and x.dtype.kind == y.dtype.kind for x, y in zip(a, b, strict=True))


def test_reads_columns_in_any_order_and_ignores_others(write_csv):
    table = read_image_table(write_csv("size,label,image\n3, 1 ,train/b/x y.png\n\n4,0,./train/a/é.png\n"))
    assert table.path.tolist() == ["train/b/x y.png", "train/a/é.png"]
    assert table.label.tolist() == [1, 0] and table.label.dtype == np.int32


def test_reads_a_byte_order_mark_and_windows_line_ends(write_csv):
    path = write_csv("")
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert equal(read_image_table(path), table_of(["train/a/0000.png", "train/b/0000.png"], [0, 1]))


@pytest.mark.parametrize("path", sorted(GOLDEN_CSV.rglob("*.csv")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_csv_files_of_the_originals_load_and_are_written_back_unchanged(path, tmp_path):
    table = read_image_table(path, allow_empty=True)
    assert len(table.path) == len(table.label) == len(path.read_text().splitlines()) - 1
    write_table(tmp_path / "copy.csv", table)
    assert (tmp_path / "copy.csv").read_text() == path.read_text()


def test_write_then_read_keeps_awkward_names(tmp_path):
    table = table_of(['a,b/"c".png', " lead/trail .png", "new\nline.png"], [0, 2**31 - 1, 5])
    write_table(tmp_path / "deep" / "t.csv", table)
    assert equal(read_image_table(tmp_path / "deep" / "t.csv"), table)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["t.csv"]


def test_write_refuses_a_folder_that_cannot_be_written(write_csv):
    path = write_csv(GOOD)
    with pytest.raises(Refusal, match=r"rows\.csv/new\.csv cannot be written: "):
        write_table(path / "new.csv", table_of(["a"], [0]))
    assert path.read_text() == GOOD


REFUSED = {
    "": r"row 1: header '' needs one column 'image'",
    "train/a/0000.png,0\n": r"row 1: header 'train/a/0000.png,0' needs one column 'image'",
    "image,class\nx,0\n": r"row 1: header 'image,class' needs one column 'label'",
    "image,label,label\nx,0,0\n": r"needs one column 'label'",
    "image,label\n": r"no rows",
    "image,label\ntrain/a/0000.png,0\ntrain/b/0000.png,dog\n": r"row 3: label 'dog' is not an integer",
    "image,label\ntrain/a/0000.png,1.0\n": r"row 2: label '1.0' is not an integer",
    "image,label\ntrain/a/0000.png,2\n": r"row 2: label 2 is out of range; choose from 0 to 1",
    "image,label\ntrain/a/0000.png,-1\n": r"row 2: label -1 is out of range",
    "image,label\n/etc/passwd,0\n": r"row 2: '/etc/passwd' leaves the image root",
    "image,label\ntrain/../../x.png,0\n": r"row 2: 'train/../../x.png' leaves the image root",
    "image,label\n..,0\n": r"row 2: '..' leaves the image root",
    "image,label\n,0\n": r"row 2: '' is not an image path",
    "image,label\na\0b,0\n": r"row 2: 'a\\x00b' is not an image path",
    "image,label\n/../etc,0\n": r"row 2: '/../etc' leaves the image root",
    "image,label\ntrain/a/none.png,0\n": r"row 2: 'train/a/none.png' is not a file under .*moved, name .*--data\.root",
    "image,label\ntrain\\none.png,0\n": r"row 2: 'train\\\\none.png' is not a file under ",
    "image,label\ntrain/a/0000.png,nan\n": r"row 2: label 'nan' is not an integer",
    "image,label\ntrain/a/0000.png,\n": r"row 2: label '' is not an integer",
    "image,label\ntrain/a/0000.png,dog\n": r"rows.csv: labels are names of classes, and .*/classes.json, which numbers",
    "image,label\ntrain/a,0\n": r"row 2: 'train/a' is not a file under ",
    "image,label\ntrain/a/0000.png\n": r"row 2: 1 values where the header has 2",
    'image,label\n"train/a/0000.png,0\n': r"row 2: not readable as CSV",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refuses_a_bad_csv_with_file_row_and_value(text, make_tree, write_csv):
    root = make_tree({"train/a": 1, "train/b": 1})
    with pytest.raises(Refusal, match=REFUSED[text]) as caught:
        read_image_table(write_csv(text), num_classes=2, root=root)
    assert "rows.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_refuses_files_that_are_no_text(write_csv, tmp_path):
    path = write_csv("")
    path.write_bytes(b"image,label\n\xff\xfe,0\n")
    with pytest.raises(Refusal, match=r"rows\.csv is not UTF-8 text \(byte 12\)"):
        read_image_table(path)
    with pytest.raises(Refusal, match=r"none\.csv cannot be read: No such file"):
        read_image_table(tmp_path / "none.csv")
    with pytest.raises(Refusal, match=r"cannot be read: Is a directory"):
        read_image_table(tmp_path)


def test_paths_are_found_in_the_root_however_they_are_written(make_tree, write_csv, tmp_path):
    root = make_tree({"train/a": 3})
    (root / r"train\odd.png").write_bytes(b"")
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    written = [r"train\a\0000.png", f"{root}/train/../train/a/0001.png", r"train\odd.png", "train//a/./0002.png"]
    path = write_csv("image,label\n" + "".join(f"{name},0\n" for name in written))
    found = ["train/a/0000.png", "train/a/0001.png", r"train\odd.png", "train/a/0002.png"]
    for place in (root, tmp_path / "link"):
        assert read_image_table(path, root=place).path.tolist() == found
    assert read_image_table(path).path.tolist()[1] == f"{root}/train/a/0001.png"
    with pytest.raises(Refusal, match=r"wrong\.csv, row 3: .* leaves the image root .*/images/train$"):
        read_image_table(
            write_csv("image,label\na/0000.png,0\n" + f"{root}/0001.png,0\n", "wrong.csv"), root=root / "train"
        )
    with pytest.raises(Refusal, match=r"rows\.csv, row 2: x is broken"), naming_rows([path]):
        raise BrokenImage("x is broken", "train/a/0000.png", root)


NAMED = {"train0": ["b", "a"], "test0": ["b"], "train1": ["d e"], "test1": ["c"], "replay0": [1], "replay1": []}


def write_named(write_csv):
    for kind, labels in NAMED.items():
        write_csv("image,label\n" + "".join(f"x/{label},{label}\n" for label in labels), f"toy_{kind}.csv")
    write_csv("image,label\nx,z\n", "other_train0.csv")


@pytest.mark.parametrize(
    ("numbers", "labels"),
    [
        (None, {"train0": [1, 0], "test0": [1], "train1": [3], "test1": [2], "replay0": [1]}),
        ('["d e", "c", "b", "a"]', {"train0": [2, 3], "test0": [2], "train1": [0], "test1": [1], "replay0": [1]}),
        ('{"a": 0, "b": 0, "c": 7, "d e": 1}', {"train0": [0, 0], "test0": [0], "train1": [1], "test1": [7]}),
    ],
)
def test_names_of_classes_are_labels(numbers, labels, write_csv, tmp_path):
    write_named(write_csv)
    if numbers:
        write_csv(numbers, "classes.json")
    for kind, expected in labels.items():
        assert read_image_table(tmp_path / f"toy_{kind}.csv").label.tolist() == expected
    if numbers is None:
        write_csv("image,label\nx,a0\n", "toy_test1.csv")  # the names of a sequence are read anew
        assert read_image_table(tmp_path / "toy_train0.csv").label.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ('["a", "c"]', r"toy_train0\.csv, row 2: class 'b' has no number in .*classes\.json$"),
        ('["a", "a"]', r"classes\.json is neither a list of different names of classes nor an object"),
        ('{"a": 0.5}', r"classes\.json is neither"),
        ("[1, 2]", r"classes\.json is neither"),
        ("3", r"classes\.json is neither"),
        ("[", r"classes\.json is not JSON: "),
        ('{"a": 0, "b": -1}', r"row 2: label -1 \(class 'b'\) is out of range; choose from 0 to 2"),
        ('["a", "c", "d e", "b"]', r"row 2: label 3 \(class 'b'\) is out of range; choose from 0 to 2"),
    ],
)
def test_refuses_names_without_a_number(numbers, told, write_csv, tmp_path):
    write_named(write_csv)
    write_csv(numbers, "classes.json")
    with pytest.raises(Refusal, match=told):
        read_image_table(tmp_path / "toy_train0.csv", num_classes=3)


def test_an_empty_table_is_allowed_where_asked_for(write_csv):
    table = read_image_table(write_csv("image,label\n"), allow_empty=True)
    assert table.path.shape == table.label.shape == (0,) and table.path.dtype.kind == "U"


@pytest.fixture
def tasks(make_tree, tmp_path):
    """Two tasks on classes {0, 1} and {1, 2}; returns (root, prefix)."""
    root = make_tree({f"{split}/{name}": 4 for split in ("train", "test") for name in "abc"})
    prefix = tmp_path / "toy"
    for task, classes in enumerate(([0, 1], [1, 2])):
        for split in ("train", "test"):
            table = list_images(root, split).table
            keep = np.isin(table.label, classes)
            write_table(task_csv(prefix, split, task), ImageTable(table.path[keep], table.label[keep]))
        train = read_image_table(task_csv(prefix, "train", task))
        write_table(task_csv(prefix, "replay", task), ImageTable(train.path[1:6:2], train.label[1:6:2]))
    return root, prefix


def load(tasks, num_tasks=2, replay=True):
    return load_tasks(tasks[1], num_tasks, root=tasks[0], num_classes=3, replay=replay)


def test_loads_tasks_with_and_without_replay(tasks):
    first, second = load(tasks)
    assert first.train.label.tolist() == [0] * 4 + [1] * 4 and second.test.label.tolist() == [1] * 4 + [2] * 4
    assert first.replay.path.tolist() == ["train/a/0001.png", "train/a/0003.png", "train/b/0001.png"]
    assert all(task.replay is None for task in load(tasks, replay=False))
    assert len(load(tasks, num_tasks=1, replay=False)) == 1


def test_refuses_replay_of_another_number_of_tasks(tasks):
    with pytest.raises(Refusal, match=r"toy_replay\{i\}\.csv: 1 tasks need i = 0 to 0; found: 0, 1$"):
        load(tasks, num_tasks=1)
    task_csv(tasks[1], "replay", 1).unlink()
    with pytest.raises(Refusal, match=r"2 tasks need i = 0 to 1; found: 0$"):
        load(tasks)
    task_csv(tasks[1], "replay", 0).unlink()
    with pytest.raises(Refusal, match=r"found: none$"):
        load(tasks)


def test_refuses_replay_rows_of_another_task(tasks):
    write_table(task_csv(tasks[1], "replay", 0), table_of(["train/c/0000.png"], [2]))
    with pytest.raises(Refusal, match=r"toy_replay0\.csv: 'train/c/0000.png' with label 2 is not in the train CSV"):
        load(tasks)


def test_an_empty_replay_is_fine_and_an_empty_task_is_refused(tasks):
    write_table(task_csv(tasks[1], "replay", 0), table_of([], []))
    assert len(load(tasks)[0].replay.path) == 0
    write_table(task_csv(tasks[1], "train", 1), table_of([], []))
    with pytest.raises(Refusal, match=r"toy_train1\.csv: no rows"):
        load(tasks, replay=False)


def test_rows_point_into_the_catalog():
    one, two = table_of(["c", "a"], [1, 0]), table_of(["b", "a"], [2, 0])
    known = catalog([one, two])
    assert known.paths == ("a", "b", "c")
    rows = concat_rows([rows_of(known, one, 0, False), rows_of(known, two, 3, True)])
    assert equal(
        rows,
        Rows(
            np.array([2, 0, 1, 0]),
            np.array([1, 0, 2, 0]),
            np.array([0, 0, 3, 3]),
            np.array([False, False, True, True]),
        ),
    )
    assert rows.index.dtype == rows.label.dtype == rows.task.dtype == np.int32


def test_a_task_trains_on_its_rows_and_the_replay_of_the_tasks_before(tasks):
    loaded = load(tasks)
    known = catalog(table for task in loaded for table in (task.train, task.test))
    first, second = rows_for_seed(known, task_rows(known, loaded), 0.0, 0)
    rows = second.train
    assert first.train.is_replay.sum() == 0
    assert rows.task.tolist() == [1] * 8 + [0] * 3 and rows.is_replay.tolist() == [False] * 8 + [True] * 3
    assert [known.paths[i] for i in rows.index[8:]] == loaded[0].replay.path.tolist()
    assert class_counts_of(rows, 4).tolist() == [2.0, 5.0, 4.0, 0.0]


def paths_of(known, rows):
    return [known.paths[index] for index in rows.index]


@pytest.mark.parametrize("seed", [0, 1])
def test_one_reading_serves_every_seed(tasks, seed):
    loaded = load(tasks)
    known = catalog(table for task in loaded for table in task)
    first, second = rows_for_seed(known, task_rows(known, loaded), 0.4, seed)
    held = {path for path, out in zip(known.paths, held_out(known.paths, 0.4, seed), strict=True) if out}
    assert paths_of(known, first.own) == [path for path in loaded[0].train.path.tolist() if path not in held]
    assert paths_of(known, first.validation) == [path for path in loaded[0].train.path.tolist() if path in held]
    assert paths_of(known, first.replay) == [path for path in loaded[0].replay.path.tolist() if path not in held]
    assert held and equal(first.train, first.own) and equal(first.test, rows_of(known, loaded[0].test, 0, False))
    assert equal(second.train, concat_rows([second.own, first.replay]))
    assert set(second.own.task) == {1} and not second.own.is_replay.any() and first.replay.is_replay.all()
    plain = [task._replace(replay=None) for task in loaded]
    assert rows_for_seed(known, task_rows(known, plain), 0.0, seed)[1].replay is None
    assert equal(
        rows_for_seed(known, task_rows(known, plain), 0.0, seed)[1].train, rows_of(known, plain[1].train, 1, False)
    )


def test_a_broken_image_gets_the_row_of_the_file(write_csv):
    one = write_csv("image,label\nb,1\n", "one.csv")
    two = write_csv('image,label,note\n\na,0,"two\nlines"\n\nb,1,\n./c/../b,1,\n', "two.csv")
    for image, named in {"b": "one.csv, row 2: b is broken", "a": "two.csv, row 4: a is"}.items():
        with pytest.raises(Refusal, match=named), naming_rows([one, two]):
            raise BrokenImage(f"{image} is broken", image)
    with pytest.raises(Refusal, match=r"two\.csv, row 6: b is broken"), naming_rows([two]):
        raise BrokenImage("b is broken", "b")
    with pytest.raises(BrokenImage, match=r"^z is broken"), naming_rows([one, two]):
        raise BrokenImage("z is broken", "z")


def test_class_counts_are_float32():
    rows = rows_of(catalog([table_of(["a"], [2])]), table_of(["a"], [2]), 0, False)
    assert class_counts_of(rows, 3).dtype == np.float32


def test_validation_side_depends_on_path_and_seed_alone():
    paths = [f"train/a/{i}.png" for i in range(2000)]
    held = held_out(paths, 0.1, seed=3)
    assert 150 < held.sum() < 250 and held.dtype == np.bool_
    np.testing.assert_array_equal(held_out(paths[500:900], 0.1, seed=3), held[500:900])
    assert (held_out(paths, 0.1, seed=4) != held).any()
    assert not held_out(paths, 0.0, seed=3).any()


def test_validation_side_is_the_same_in_another_process():
    code = "from lifeq_jax.data.tables import held_out; print(held_out([str(i) for i in range(40)], .3, 1).tolist())"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert printed == {f"{held_out([str(i) for i in range(40)], 0.3, 1).tolist()}\n"}


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 20])
def test_refuses_a_validation_fraction_out_of_range(fraction):
    with pytest.raises(Refusal, match=r"validation fraction .* is out of range; choose from \[0, 1\)"):
        held_out(["a"], fraction, 0)


CLIMBQ = "image,label\ntrain/b/0000.png,0\ntrain/b/0001.png,0\ntrain/a/0000.png,1\n"


@pytest.fixture
def climbq(make_tree, write_csv):
    """The root and the folder of CSV files named as ClimbQ's authors name theirs."""
    root = make_tree({f"{split}/{name}": 2 for split in ("train", "test") for name in "ab"})
    write_csv("image,label\ntest/a/0000.png,1\ntest/b/0000.png,0\n", "toy_test.csv")
    for gamma in (10, 200):
        write_csv(CLIMBQ, f"toy_train{gamma}.csv")
    return root, root.parent


@pytest.mark.parametrize("gamma", [10, 200])
def test_a_train_csv_is_the_prefix_of_a_single_task(climbq, gamma):
    root, folder = climbq
    prefix = folder / f"toy_train{gamma}.csv"
    (task,) = load_tasks(prefix, 1, root=root, num_classes=2, replay=False)
    assert task.train.path.tolist() == ["train/b/0000.png", "train/b/0001.png", "train/a/0000.png"]
    assert task.train.label.tolist() == [0, 0, 1] and task.test.label.tolist() == [1, 0]
    assert task_csvs(prefix, 1, replay=False) == (prefix, folder / "toy_test.csv")


def test_a_train_csv_prefers_the_test_csv_of_its_own_ending(climbq):
    folder = climbq[1]
    (folder / "toy_train0.csv").write_text(CLIMBQ)
    assert task_csv(folder / "toy_train0.csv", "test", 0) == folder / "toy_test.csv"
    (folder / "toy_test0.csv").write_text(CLIMBQ)
    assert task_csv(folder / "toy_train0.csv", "test", 0) == folder / "toy_test0.csv"
    assert task_csv(folder / "toy_train.csv", "test", 0) == folder / "toy_test.csv"


@pytest.mark.parametrize(("num_tasks", "replay"), [(1, True), (2, False), (2, True)])
def test_a_train_csv_has_one_task_and_no_replay(climbq, num_tasks, replay):
    root, folder = climbq
    with pytest.raises(Refusal, match=r"toy_train10\.csv is the train CSV of one task: num_tasks must be 1, without"):
        load_tasks(folder / "toy_train10.csv", num_tasks, root=root, num_classes=2, replay=replay)

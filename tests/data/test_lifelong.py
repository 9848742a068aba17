import re

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.lifelong import class_windows, make_domains, make_lifelong
from lifeq_jax.data.tables import read_image_table, task_csv
from tests import vectors

NAME = re.compile(r"n(\d+)_T(\d+)_r([\d.]+)_s(\d+)")


def cases(arrays):
    """{case: (classes, tasks, rate, seed)} of the golden file."""
    names = sorted({key.split("/")[0] for key in arrays})
    parts = {name: NAME.fullmatch(name).groups() for name in names}
    return {name: (int(n), int(tasks), float(rate), int(seed)) for name, (n, tasks, rate, seed) in parts.items()}


def test_class_windows_of_the_original(golden):
    arrays = golden("lq_lifelong_split")
    compared = 0
    for name, (num_classes, num_tasks, rate, seed) in cases(arrays).items():
        if rate > 1:
            continue  # the original takes 25 for 2500 %: tasks of one class or none; per cent here
        windows = class_windows(num_classes, num_tasks, rate, seed)
        assert len(windows) == num_tasks
        for task, window in enumerate(windows):
            np.testing.assert_array_equal(window, arrays[f"{name}/task{task}/class_ids"])
            compared += 1
        assert windows[-1][-1] == arrays[f"{name}/order"][-1]
    assert compared == 29


def test_the_class_order_of_the_original_holds_for_every_rate(golden):
    arrays = golden("lq_lifelong_split")
    for name, (num_classes, _, _, seed) in cases(arrays).items():
        np.testing.assert_array_equal(class_windows(num_classes, 1, 1, seed)[0], arrays[f"{name}/order"])


@pytest.mark.parametrize("rate", [25, 50, 75, 80])
def test_per_cent_means_the_same_as_the_fraction(rate):
    assert class_windows(100, 3, rate, 123) == class_windows(100, 3, rate / 100, 123)


@pytest.mark.parametrize(
    ("num_classes", "num_tasks", "rate", "window"), [(17, 4, 0.8, 4), (33, 5, 0.3, 14), (12, 6, 0.28, 4)]
)
def test_truncations_of_doubles_are_kept(num_classes, num_tasks, rate, window):
    assert len(class_windows(num_classes, num_tasks, rate, 9)[0]) == window


def test_windows_by_hand():
    windows = class_windows(10, 3, 25, seed=123)
    assert [len(window) for window in windows] == [6, 6, 8]
    assert windows[1][:5] == windows[0][1:] and set(windows[1]) <= set(windows[0]) | set(windows[2])


@pytest.mark.parametrize(
    ("num_classes", "num_tasks", "rate", "told"),
    [
        (10, 20, 1.0, "gives empty tasks, with 10 classes and diminish_rate=1; choose at most 10 tasks"),
        (10, 8, 25, "copies of one another, 3 classes in each, with 10 classes and .*=25; choose at most 7 tasks"),
        (10, 2, 5, "copies of one another, 9 classes in each, .*; choose at most 1 tasks or a larger rate$"),
        (2, 2, 1.0, None), (10, 7, 25, None), (10, 10, 100, None), (10, 1, 5, None),
        (10, 0, 1.0, "num_tasks=0 is out of range"), (10, 2, 0, "diminish_rate=0 is out of range"),
    ],
)  # fmt: skip
def test_refuses_tasks_that_are_empty_or_copies_and_names_the_largest_number(num_classes, num_tasks, rate, told):
    if told is not None:
        with pytest.raises(Refusal, match=told):
            class_windows(num_classes, num_tasks, rate, 0)
    else:
        windows = class_windows(num_classes, num_tasks, rate, 0)
        assert len({tuple(window) for window in windows}) == num_tasks and all(windows)


def test_tasks_of_a_single_class_and_files_left_out_are_noted(make_tree, tmp_path):
    root = make_tree({f"{split}/{name}": 2 for split in ("train", "test") for name in "abc"})
    (root / "test/a/x.txt").write_text("")
    made = make_lifelong(root, tmp_path / "toy", num_tasks=2, diminish_rate=1)
    told = [f"task 0 has a single class in {split}" for split in ("train", "test")]
    assert made.notes == (*told, "left out: 1 .txt")
    made = make_lifelong(root, tmp_path / "more", num_tasks=3, diminish_rate=1, splits=("train",))
    assert made.notes == ("tasks 0, 1, 2 have a single class in train",)
    assert make_lifelong(root, tmp_path / "one", num_tasks=1, diminish_rate=1, splits=("train",)).notes == ()


@pytest.mark.parametrize("rate", [1, 25])
def test_one_task_has_all_classes_and_val_stands_for_test(make_tree, tmp_path, rate):
    root = make_tree({f"{split}/{name}": number for split, number in (("train", 3), ("val", 2)) for name in "dacb"})
    made = make_lifelong(root, tmp_path / "all", num_tasks=1, diminish_rate=rate)
    assert made.classes == tuple("abcd") and made.images == {"train": (12,), "test": (8,)}
    for split, folder in (("train", "train"), ("test", "val")):
        table = read_image_table(task_csv(tmp_path / "all", split, 0), num_classes=4, root=root)
        assert {path.split("/")[0] for path in table.path.tolist()} == {folder}
        assert {(path.split("/")[1], label) for path, label in zip(table.path.tolist(), table.label, strict=True)} == {
            ("a", 0), ("b", 1), ("c", 2), ("d", 3),
        }  # fmt: skip
    (root / "test" / "a").mkdir(parents=True)
    with pytest.raises(Refusal, match="test/a has no images"):
        make_lifelong(root, tmp_path / "all", num_tasks=1, diminish_rate=rate)


@pytest.mark.parametrize("case", ["n10_T2_r1_s123", "n10_T3_r0.25_s123"])
def test_csv_files_of_the_original(case, golden, tmp_path):
    """The same rows; the original's order inside a class is that of its file system."""
    num_classes, num_tasks, rate, seed = cases(golden("lq_lifelong_split"))[case]
    for path in golden("lq_lifelong_split")[f"{case}/glob_order"]:
        file = tmp_path / "images" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    prefix = tmp_path / "toy"
    made = make_lifelong(
        tmp_path / "images", prefix, num_tasks=num_tasks, diminish_rate=rate, seed=seed, splits=("train",)
    )
    assert made.classes == tuple(golden("lq_lifelong_split")[f"{case}/class_names"])
    for task in [*range(num_tasks), None]:
        ours, theirs = (
            read_image_table(task_csv(p, "train", task)) for p in (prefix, vectors.path(f"lifelong_{case}") / "toy")
        )
        np.testing.assert_array_equal(ours.label, theirs.label)
        for start in range(0, len(ours.path), 5):
            assert sorted(ours.path[start : start + 5]) == sorted(theirs.path[start : start + 5])
        if task is not None:
            assert made.images["train"][task] == golden("lq_lifelong_split")[f"{case}/task{task}/counts"].sum()
    assert len(theirs.path) == sum(made.images["train"])
    assert num_classes == len(made.classes)


def test_train_and_test_get_the_same_classes(make_tree, tmp_path):
    root = make_tree({f"{split}/{name}": 2 for split in ("train", "test") for name in "abcdef"})
    made = make_lifelong(root, tmp_path / "toy", num_tasks=3, diminish_rate=25)
    assert made.images == {"train": (8, 8, 8), "test": (8, 8, 8)}
    for task in range(3):
        labels = [read_image_table(task_csv(tmp_path / "toy", split, task), root=root).label for split in made.images]
        np.testing.assert_array_equal(*labels)
    assert len(read_image_table(tmp_path / "toy_train.csv").path) == sum(made.images["train"])


def test_refuses_splits_that_differ_and_leftovers(make_tree, tmp_path):
    root = make_tree({"train/a": 1, "train/b": 1, "test/a": 1})
    with pytest.raises(Refusal, match=r"splits train and test differ in class 'b' \(1 in all\)"):
        make_lifelong(root, tmp_path / "toy", num_tasks=2, diminish_rate=1)
    assert not list(tmp_path.glob("*.csv"))
    make_lifelong(root, tmp_path / "toy", num_tasks=2, diminish_rate=1, splits=("train",))
    with pytest.raises(Refusal, match=r"toy_train1\.csv is of a sequence longer than 1 tasks"):
        make_lifelong(root, tmp_path / "toy", num_tasks=1, diminish_rate=1, splits=("train",))


def test_refuses_to_write_under_the_name_of_a_csv_file(make_tree, tmp_path):
    root = make_tree({"train/a": 1, "train/b": 1})
    with pytest.raises(Refusal, match=r"toy_train10\.csv is the name of a CSV file; give what the names"):
        make_lifelong(root, tmp_path / "toy_train10.csv", num_tasks=1, diminish_rate=1, splits=("train",))
    assert not list(tmp_path.glob("*.csv"))


OFFICE = {"amazon/back_pack": 5, "amazon/bike": 4, "dslr/bike": 3, "dslr/mug": 3, "webcam/mug": 2}


def test_domains_without_splits(make_tree, tmp_path):
    root = make_tree(OFFICE)
    made = make_domains(root, tmp_path / "office", domains=("webcam", "amazon", "dslr"), test_fraction=0.4, seed=1)
    assert made.classes == ("back_pack", "bike", "mug")
    assert made.images == {"train": (1, 5, 4), "test": (1, 4, 2)}
    train, test = (read_image_table(task_csv(tmp_path / "office", split, 1), root=root) for split in ("train", "test"))
    assert set(train.path) | set(test.path) == {
        f"{k}/{i:04d}.png" for k, n in OFFICE.items() for i in range(n) if k.startswith("amazon")
    }
    assert not set(train.path) & set(test.path)
    for table in (train, test):
        assert [made.classes[label] for label in table.label] == [path.split("/")[1] for path in table.path]


def test_domains_under_splits(make_tree, tmp_path):
    root = make_tree({f"{split}/{folder}": 1 for split in ("train", "test") for folder in OFFICE})
    made = make_domains(root, tmp_path / "office", domains=("dslr", "webcam"))
    assert made.classes == ("bike", "mug") and made.images == {"train": (2, 1), "test": (2, 1)}
    table = read_image_table(task_csv(tmp_path / "office", "test", 1), root=root)
    assert table.path.tolist() == ["test/webcam/mug/0000.png"] and table.label.tolist() == [1]


def test_domains_refuse_unknown_and_repeated_names(make_tree, tmp_path):
    root = make_tree(OFFICE)
    with pytest.raises(Refusal, match=r"caltech is not a folder; splits under .*: amazon, dslr, webcam"):
        make_domains(root, tmp_path / "office", domains=("amazon", "caltech"))
    with pytest.raises(Refusal, match="domains dslr, dslr: name each domain once"):
        make_domains(root, tmp_path / "office", domains=("dslr", "dslr"))
    with pytest.raises(Refusal, match=r"domains \(none\)"):
        make_domains(root, tmp_path / "office", domains=())

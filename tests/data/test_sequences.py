import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.sequences import (
    SEQUENCES,
    alternating,
    classes_shuffled,
    groups_shuffled,
    in_order,
    make_sequence,
)
from lifeq_jax.data.tables import load_tasks, read_image_table, task_csv
from tests import vectors


def names_of(tree):
    """Class names that sort as the labels are numbered."""
    return tree.names or [f"c{label:03d}" for label in range(tree.num_classes)]


@pytest.fixture
def roots(tmp_path):
    """roots(name) -> a root with every tree of the sequence, two training images and one test image a class."""

    def make(name):
        root = tmp_path / "images"
        for tree in SEQUENCES[name].trees:
            for split, number in (("train", 2), ("test", 1)):
                for label in names_of(tree):
                    (root / tree.folder / split / label).mkdir(parents=True)
                    for index in range(number):
                        (root / tree.folder / split / label / f"{index}.png").write_bytes(b"x")
        return root

    return make


def classes_in(prefix, number, split="train"):
    """The labels of each task, in row order."""
    tables = [read_image_table(task_csv(prefix, split, task)) for task in range(number)]
    return [list(dict.fromkeys(table.label.tolist())) for table in tables]


@pytest.mark.parametrize("name", sorted(SEQUENCES))
def test_every_sequence_is_written_and_loads(name, roots, tmp_path):
    root, number = roots(name), SEQUENCES[name].num_tasks
    made = make_sequence(name, root, tmp_path / "csv" / "toy")
    classes = sum(tree.num_classes for tree in SEQUENCES[name].trees)
    tasks = load_tasks(tmp_path / "csv" / "toy", number, root=root, num_classes=classes, replay=False)
    assert len(tasks) == number and len(made.classes) == classes
    assert made.images == {s: tuple(len(getattr(task, s).path) for task in tasks) for s in ("train", "test")}
    everything = np.concatenate([task.train.label for task in tasks])
    np.testing.assert_array_equal(np.bincount(everything), np.full(classes, 2))
    for task in tasks:
        assert list(dict.fromkeys(task.test.label)) == list(dict.fromkeys(task.train.label))
        for split, table in (("train", task.train), ("test", task.test)):
            for path, label in zip(table.path.tolist(), table.label.tolist(), strict=True):
                *folder, there, class_name, file = path.split("/")
                assert (there, "/".join([*folder, class_name])) == (split, made.classes[label])
                assert file in ("0.png", "1.png")
    assert not task_csv(tmp_path / "csv" / "toy", "train", number).exists()


def test_digits_go_in_order_whatever_the_seed(roots, tmp_path):
    root = roots("mnist5")
    for seed in (0, 7):
        make_sequence("mnist5", root, tmp_path / f"five{seed}", seed=seed)
        assert classes_in(tmp_path / f"five{seed}", 5) == vectors.document("blip_task_sequences")["mnist5"]["classes"]
    make_sequence("mnist2", root, tmp_path / "two")
    assert classes_in(tmp_path / "two", 2, "test") == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    make_sequence("pmnist", root, tmp_path / "permuted")
    assert classes_in(tmp_path / "permuted", 1) == [list(range(10))]
    assert read_image_table(task_csv(tmp_path / "permuted", "test", 0)).path.tolist()[3] == "test/3/0.png"


def test_cifar10_pairs_by_hand(roots, tmp_path):
    make_sequence("cifar10_pairs", roots("cifar10_pairs"), tmp_path / "pairs", seed=1)
    assert classes_in(tmp_path / "pairs", 5) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_the_alternating_order_of_the_original(golden, roots, tmp_path):
    make_sequence("cifar_alternating", roots("cifar_alternating"), tmp_path / "toy")
    written, recorded = classes_in(tmp_path / "toy", 10), vectors.document("blip_task_sequences")["cifar"]
    groups = golden("blip_task_sequences")["cifar_ids"]
    for labels, group, name in zip(written, groups, recorded["names"], strict=True):
        first = 0 if name.startswith("cifar10-") else 10
        assert labels == [first + label for label in recorded["classes"][name]]
        assert labels[0] == (2 * group if group < 5 else 10 + 20 * (group - 5))
    paths = read_image_table(task_csv(tmp_path / "toy", "train", 1)).path.tolist()
    assert paths[:3] == ["cifar100/train/c060/0.png", "cifar100/train/c060/1.png", "cifar100/train/c061/0.png"]


def test_the_five_data_sets_of_the_original(golden, roots, tmp_path):
    make_sequence("five_datasets", roots("five_datasets"), tmp_path / "toy")
    order = golden("blip_task_sequences")["mixture5_order"].tolist()
    assert classes_in(tmp_path / "toy", 5) == [list(range(10 * place, 10 * place + 10)) for place in order]
    tables = [read_image_table(task_csv(tmp_path / "toy", "test", task)) for task in range(5)]
    folders = [table.path[0].split("/")[0] for table in tables]
    assert folders == [name.replace("-", "_") for name in vectors.document("blip_task_sequences")["mixture5"]["names"]]


@pytest.mark.parametrize("seed", range(5))
def test_orders_of_other_seeds(seed):
    orders = vectors.document("blip_task_sequences")["all_orders"][str(seed)]
    assert [task[0] // 10 for task in groups_shuffled(50, 5, seed)] == orders["mixture5"]
    groups = [task[0] // 2 if len(task) == 2 else 5 + (task[0] - 10) // 20 for task in alternating(110, 10, seed)]
    assert groups == orders["cifar"]


@pytest.mark.parametrize("number", [20, 10])
def test_mini_imagenet_classes_of_the_original(golden, number):
    expected = golden("blip_miniimagenet_split")[f"task_ids_n{number}"]
    np.testing.assert_array_equal(classes_shuffled(100, number, 0), expected)


def test_mini_imagenet_in_ten_tasks_with_another_seed(roots, tmp_path):
    make_sequence("mini_imagenet", roots("mini_imagenet"), tmp_path / "ten", num_tasks=10, seed=3)
    assert classes_in(tmp_path / "ten", 10, "test") == classes_shuffled(100, 10, 3)
    with pytest.raises(Refusal, match=r"ten_train5\.csv is of a sequence longer than 5 tasks"):
        make_sequence("mini_imagenet", tmp_path / "images", tmp_path / "ten", num_tasks=5)


def test_mini_imagenet_without_splits_keeps_its_test_images_for_every_seed(make_tree, tmp_path):
    root = make_tree({f"n{label:03d}": 6 for label in range(100)}, (1, 1, 3))
    tests = []
    for seed in (0, 1):
        made = make_sequence("mini_imagenet", root, tmp_path / f"s{seed}", seed=seed)
        assert made.images == {"train": (25,) * 20, "test": (5,) * 20}
        train, test = (read_image_table(tmp_path / f"s{seed}_{split}.csv", root=root) for split in ("train", "test"))
        assert not set(train.path) & set(test.path) and len(set(train.path) | set(test.path)) == 600
        assert [int(path[1:4]) for path in test.path.tolist()] == test.label.tolist()
        tests.append(set(test.path))
    assert tests[0] == tests[1] and len({path[-8:] for path in tests[0]}) > 1


def test_in_order_by_hand():
    assert in_order(6, 3, 0) == in_order(6, 3, 1) == [[0, 1], [2, 3], [4, 5]]


def test_refuses_a_missing_tree_and_writes_nothing(make_tree, tmp_path):
    root = make_tree({f"{name}/{split}/0": 1 for name in ("mnist", "svhn") for split in ("train", "test")})
    with pytest.raises(
        Refusal,
        match=r"images: five_datasets needs the folders cifar10, notmnist, mnist, svhn, fashion_mnist; "
        r"missing: cifar10, notmnist, fashion_mnist; there: mnist, svhn$",
    ):
        make_sequence("five_datasets", root, tmp_path / "toy")
    with pytest.raises(Refusal, match=r"none: cifar_alternating needs .*; missing: cifar10, cifar100; there: none$"):
        make_sequence("cifar_alternating", tmp_path / "none", tmp_path / "toy")
    with pytest.raises(
        Refusal, match=r"images/train is not a folder; splits under .*: mnist, svhn; `lifeq-jax data prepare"
    ):
        make_sequence("mnist5", root, tmp_path / "toy")
    with pytest.raises(Refusal, match=r"none is not a folder; splits under .*: none$"):
        make_sequence("mini_imagenet", tmp_path / "none", tmp_path / "toy")
    assert not list(tmp_path.glob("*.csv"))


def test_refuses_other_classes_than_the_tree_has(make_tree, tmp_path):
    digits = {f"{split}/{digit}": 1 for split in ("train", "test") for digit in range(9)}
    root = make_tree(digits)
    told = r"images: mnist5 needs the classes 0, 1, .*, 9; there are 9: 0, 1, 2, 3, 4, 5, 6, 7, 8$"
    with pytest.raises(Refusal, match=told):
        make_sequence("mnist5", root, tmp_path / "toy")
    with pytest.raises(Refusal, match=r"images: cifar10_pairs needs 10 classes; there are 9: 0, 1, "):
        make_sequence("cifar10_pairs", root, tmp_path / "toy")
    for split in ("train", "test"):
        (root / split / "nine").mkdir()
        (root / split / "nine" / "0.png").write_bytes(b"x")
    with pytest.raises(Refusal, match=r"needs the classes 0, .*; there are 10: 0, 1, 2, 3, 4, 5, 6, 7, 8, nine$"):
        make_sequence("mnist2", root, tmp_path / "toy")
    (root / "train" / "eleven").mkdir()
    (root / "train" / "eleven" / "0.png").write_bytes(b"x")
    with pytest.raises(Refusal, match=r"splits train and test differ in class 'eleven'"):
        make_sequence("cifar10_pairs", root, tmp_path / "toy")
    assert not list(tmp_path.glob("*.csv"))


def test_refuses_a_tree_of_another_size_inside_a_sequence_of_trees(roots, tmp_path):
    root = roots("five_datasets")
    for split in ("train", "test"):
        (root / "svhn" / split / "c010").mkdir()
        (root / "svhn" / split / "c010" / "0.png").write_bytes(b"x")
    with pytest.raises(Refusal, match=r"svhn: five_datasets needs 10 classes; there are 11: c000, .*, c009, \.\.\.$"):
        make_sequence("five_datasets", root, tmp_path / "toy")


def test_refuses_names_numbers_of_tasks_and_seeds(tmp_path):
    with pytest.raises(Refusal, match=r"sequence='mnist' is unknown; choose from cifar10_pairs, .*, pmnist$"):
        make_sequence("mnist", tmp_path, tmp_path / "toy")
    for name in sorted(SEQUENCES.keys() - {"mini_imagenet"}):
        with pytest.raises(Refusal, match=rf"tasks=5 does not apply to {name}, .*; choose it for mini_imagenet$"):
            make_sequence(name, tmp_path, tmp_path / "toy", num_tasks=5)
    for number in (0, -5, 3):
        with pytest.raises(Refusal, match=rf"tasks={number} does not divide the 100 classes .* 1, 2, 4, 5, 10, 20, "):
            make_sequence("mini_imagenet", tmp_path, tmp_path / "toy", num_tasks=number)
    with pytest.raises(Refusal, match="seed=-1 is out of range"):
        make_sequence("five_datasets", tmp_path, tmp_path / "toy", seed=-1)

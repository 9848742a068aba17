import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.class_counts import write_counts
from lifeq_jax.data.lifelong import make_lifelong
from lifeq_jax.data.long_tail import (
    SCHEMES,
    exponential,
    long_tail_of_csv,
    long_tail_of_folders,
    long_tail_of_tasks,
    thin,
    truncated,
)
from lifeq_jax.data.replay import make_replay
from lifeq_jax.data.tables import load_tasks, read_image_table, table_of, task_csv, write_table
from tests import vectors

GENERATED = [
    *("eq5_g10", "ragged6_g10", "ragged6_g50"),
    *(f"{name}_g{gamma}" for name in ("eq10", "cifar10", "eq100") for gamma in (10, 50, 100, 200)),
]
DRAWN = GENERATED[:3]
CHAINS = [f"main_chain/C{classes}_g{gamma}" for classes in (10, 100) for gamma in (10, 50, 100, 200)]
SHIPPED = [f"shipped/{name}_g{gamma}" for name in ("cifar10", "cifar100", "syndigits") for gamma in (10, 50, 200)]


def table_with(sizes, labels=None):
    """Rows class by class, sizes[i] of label labels[i]."""
    labels = range(len(sizes)) if labels is None else labels
    pairs = [(f"train/{label}/{i:04d}.png", label) for label, n in zip(labels, sizes, strict=True) for i in range(n)]
    return table_of(*zip(*pairs, strict=True))


def sizes_in(table, labels):
    return [int((table.label == label).sum()) for label in labels]


def gamma_of(case):
    return int(case.rsplit("_g", 1)[1])


def test_cases_are_all_that_the_golden_file_holds(golden):
    keys = set(golden("cq_longtail_counts"))
    assert {key for key in keys if key.endswith("/lt_counts")} == {f"{case}/lt_counts" for case in GENERATED}
    assert {key for key in keys if key.startswith(("main_chain/", "shipped/"))} == {*CHAINS, *SHIPPED}
    assert {key.split("/")[0] for key in keys if "/picks/" in key} == set(DRAWN)


@pytest.mark.parametrize("case", GENERATED)
def test_truncated_counts_of_the_original(golden, case):
    arrays = golden("cq_longtail_counts")
    counts = truncated(arrays[f"{case}/sizes"], gamma_of(case))
    np.testing.assert_array_equal(counts, arrays[f"{case}/lt_counts"])
    assert counts.dtype == np.int64


@pytest.mark.parametrize("case", [*CHAINS, *SHIPPED])
def test_truncated_counts_of_the_training_program_and_of_the_csv_files_in_circulation(golden, case):
    counts = golden("cq_longtail_counts")[case]
    np.testing.assert_array_equal(truncated(np.full(len(counts), counts[0]), gamma_of(case)), counts)


@pytest.mark.parametrize("case", DRAWN)
def test_draws_of_the_original(golden, case):
    arrays = golden("cq_longtail_counts")
    table = table_with(arrays[f"{case}/sizes"])
    kept = thin(table, gamma_of(case), "truncated")
    for label, size in enumerate(arrays[f"{case}/sizes"]):
        picks = [int(path[-8:-4]) for path in kept.path[kept.label == label]]
        assert picks == arrays[f"{case}/picks/label{label}"].tolist() and len(set(picks)) == len(picks) <= size


def test_train_csv_of_the_original_row_by_row(golden, tmp_path):
    arrays, case = golden("cq_longtail_counts"), "eq5_g10"
    pairs = [
        (f"train/{name}/{file}", label)
        for label, name in enumerate(arrays[f"{case}/classes"])
        for file in arrays[f"{case}/glob/label{label}"]
    ]
    write_table(tmp_path / "toy.csv", thin(table_of(*zip(*pairs, strict=True)), 10, "truncated"))
    assert (tmp_path / "toy.csv").read_text() == (vectors.path("longtail_eq5_g10") / "toy_train10.csv").read_text()


def test_exponential_by_hand():
    assert exponential(np.full(3, 100), 100).tolist() == [100, 10, 1]
    assert exponential(np.full(4, 8), 8).tolist() == [8, 4, 2, 1]
    assert exponential(np.array([100, 60, 7, 2]), 10).tolist() == [100, 46, 7, 2]
    assert exponential(np.full(4, 3), 1000).tolist() == [3, 1, 1, 1]
    assert exponential(np.full(3, 7), 1).tolist() == [7, 7, 7]
    # widely used counts of CIFAR-10-LT at 200, one power each instead of a chain
    assert exponential(np.full(10, 5000), 200).tolist() == [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25]


def test_truncated_by_hand():
    assert truncated(np.full(4, 100), 50).tolist() == [100, 27, 7, 1]  # the ratio is 0.2714
    assert truncated(np.array([100, 10, 10, 10]), 8).tolist() == [100, 10, 5, 2]  # a small class starts a new chain
    assert truncated(np.full(3, 3), 100).tolist() == [3, 0, 0]


SIZES = st.lists(st.integers(1, 3000), min_size=2, max_size=120).map(lambda sizes: np.array(sorted(sizes)[::-1]))
GAMMA = st.floats(1, 1e4)


@settings(max_examples=200)
@given(sizes=SIZES, gamma=GAMMA)
def test_counts_fall_and_fit_the_classes(sizes, gamma):
    low, high = truncated(sizes, gamma), exponential(sizes, gamma)
    for counts in (low, high):
        assert counts[0] == sizes[0] and (counts <= sizes).all() and (np.diff(counts) <= 0).all()
    assert high.min() >= 1 and (low <= high).all()


@settings(max_examples=200)
@given(classes=st.integers(2, 1000), smallest=st.integers(1, 100), gamma=st.integers(1, 500))
def test_exponential_reaches_gamma_exactly_where_it_divides(classes, smallest, gamma):
    counts = exponential(np.full(classes, smallest * gamma), gamma)
    assert counts[-1] == smallest
    ideal = smallest * gamma * float(gamma) ** -(np.arange(classes) / (classes - 1))
    assert (np.abs(counts - ideal) < 1).all()


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=12).filter(lambda sizes: max(sizes) > 1),
    gamma=st.floats(1, 100),
    scheme=st.sampled_from(sorted(SCHEMES)),
    seed=st.integers(-5, 10**6),
)
def test_thin_keeps_rows_of_the_table_once_with_their_labels(sizes, gamma, scheme, seed):
    table = table_with(sizes, labels=[3 * label + 1 for label in range(len(sizes))])
    kept = thin(table, gamma, scheme, seed)
    label_of = dict(zip(table.path.tolist(), table.label.tolist(), strict=True))
    assert len(set(kept.path.tolist())) == len(kept.path)
    assert [label_of[path] for path in kept.path.tolist()] == kept.label.tolist()
    falling = np.sort(sizes)[::-1]
    found = sorted((int((kept.label == label).sum()) for label in np.unique(table.label)), reverse=True)
    assert found == SCHEMES[scheme](falling, gamma).tolist()
    again = thin(table, gamma, scheme, seed)
    np.testing.assert_array_equal(again.path, kept.path)


def test_classes_are_ordered_by_size_then_label():
    kept = thin(table_with([9, 16, 4, 16]), 16)
    assert list(dict.fromkeys(kept.label.tolist())) == [1, 3, 0, 2]
    assert sizes_in(kept, [1, 3, 0, 2]) == [16, 6, 2, 1]


def test_seeds_differ_and_a_larger_gamma_keeps_a_part():
    table = table_with([50] * 6)
    draws = [thin(table, 10, seed=seed) for seed in range(4)]
    for one, other in itertools.combinations(draws, 2):
        assert set(one.path.tolist()) != set(other.path.tolist())
    few = set(thin(table, 40).path.tolist())
    assert few < set(draws[0].path.tolist())


REFUSED = [
    (table_with([5, 5]), {"gamma": 0.99}, r"^gamma=0.99 is out of range; choose 1 or more"),
    (table_with([5, 5]), {"gamma": float("nan")}, r"^gamma=nan is out of range"),
    (table_with([5, 5]), {"gamma": float("inf")}, r"^gamma=inf is out of range"),
    (table_with([5, 5]), {"gamma": 2, "scheme": "step"}, r"^scheme='step' is unknown; choose from exponential, trunc"),
    (table_with([5]), {"gamma": 2}, r"^here: 1 class; a long tail needs 2 or more$"),
    (table_with([1, 1, 1]), {"gamma": 2}, r"^here: no class has more than 1 image; a long tail needs 2"),
    (table_of(["a", "b", "a"], [0, 1, 1]), {"gamma": 2}, r"^here: 'a' is in 2 rows; name every image once$"),
]


@pytest.mark.parametrize(("table", "how", "text"), REFUSED)
def test_refuses_what_has_no_long_tail(table, how, text):
    with pytest.raises(Refusal, match=text) as caught:
        thin(table, **how, where="here")
    assert "\n" not in str(caught.value)


@pytest.fixture
def root(make_tree):
    """Three classes whose order by size is c, a, b; the names a and b tie."""
    train = {f"train/{name}": number for name, number in {"a": 8, "b": 8, "c": 16}.items()}
    return make_tree({**train, **{f"test/{name}": 2 for name in "abc"}})


def test_folders_give_labels_by_rank_and_a_whole_test_csv(root, tmp_path):
    made = long_tail_of_folders(root, tmp_path / "lt" / "toy", gamma=4)
    assert made.trains == (tmp_path / "lt" / "toy_train4.csv",) and made.tests == (tmp_path / "lt" / "toy_test.csv",)
    assert [sizes.tolist() for sizes in made.sizes] == [[16, 8, 4]] and made.test_images == (6,)
    (task,) = load_tasks(made.trains[0], 1, root=root, num_classes=3, replay=False)
    for table in task[:2]:
        names = [path.split("/")[1] for path in table.path.tolist()]
        assert set(zip(names, table.label.tolist(), strict=True)) == {("c", 0), ("a", 1), ("b", 2)}
    assert sizes_in(task.train, range(3)) == [16, 8, 4] and sizes_in(task.test, range(3)) == [2, 2, 2]


def test_several_gammas_share_one_test_csv(root, tmp_path):
    for gamma, name in ((2, "2"), (4.0, "4"), (2.5, "2.5"), (2, "2")):
        made = long_tail_of_folders(root, tmp_path / "toy", gamma=gamma, scheme="truncated")
        assert made.trains[0].name == f"toy_train{name}.csv"
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == [
        *("toy_test.csv", "toy_train2.5.csv", "toy_train2.csv", "toy_train4.csv")
    ]


def test_counts_of_a_train_csv_and_no_replay_of_it(root, tmp_path):
    train = long_tail_of_folders(root, tmp_path / "toy", gamma=4).trains[0]
    (path,) = write_counts(train, 1)
    assert json.loads(path.read_text())["counts"] == {"0": 16, "1": 8, "2": 4}
    with pytest.raises(Refusal, match="num_tasks must be 1"):
        write_counts(train, 2)
    with pytest.raises(Refusal, match=r"toy_train4\.csv is the train CSV of one task: .*without replay"):
        make_replay(train, num_tasks=1)


def test_val_stands_for_test(make_tree, tmp_path):
    root = make_tree({f"{split}/{name}": 3 for split in ("train", "val") for name in "ab"})
    made = long_tail_of_folders(root, tmp_path / "toy", gamma=3)
    assert {path.split("/")[0] for path in read_image_table(made.tests[0]).path.tolist()} == {"val"}


def test_a_class_that_truncation_empties_is_counted(root, tmp_path):
    made = long_tail_of_folders(root, tmp_path / "toy", gamma=2000, scheme="truncated")
    assert made.sizes[0].tolist() == [16, 0, 0] and set(read_image_table(made.trains[0]).label.tolist()) == {0}


def test_a_csv_keeps_its_labels_and_its_test_rows(root, tmp_path):
    make_lifelong(root, tmp_path / "all", num_tasks=1, diminish_rate=1)
    made = long_tail_of_csv(tmp_path / "all_train0.csv", tmp_path / "toy", gamma=4, seed=1)
    train = read_image_table(made.trains[0], root=root)
    assert [sizes_in(train, [label]) for label in (2, 0, 1)] == [[16], [8], [4]]
    assert made.tests[0].read_text() == (tmp_path / "all_test0.csv").read_text()


def test_refuses_folders_and_prefixes_that_do_not_fit(root, tmp_path):
    prefix = tmp_path / "toy"
    with pytest.raises(Refusal, match=r"toy_train4\.csv is the name of a CSV file"):
        long_tail_of_folders(root, tmp_path / "toy_train4.csv", gamma=4)
    (root / "train" / "d").mkdir()
    (root / "train" / "d" / "x.png").write_bytes(b"x")
    with pytest.raises(Refusal, match=r"splits train and test differ in class 'd'"):
        long_tail_of_folders(root, prefix, gamma=4)
    (root / "train" / "d" / "x.png").unlink()
    (root / "train" / "d").rmdir()
    make_lifelong(root, prefix, num_tasks=1, diminish_rate=1)
    with pytest.raises(Refusal, match=r"toy_train0\.csv: .*toy is a sequence of tasks; use another prefix"):
        long_tail_of_folders(root, prefix, gamma=4)
    task_csv(prefix, "train", 0).unlink()
    before = {path: path.read_text() for path in tmp_path.glob("*.csv")}
    with pytest.raises(Refusal, match=r"toy_test\.csv has other rows than this set's test images; move it"):
        long_tail_of_folders(root, prefix, gamma=4)
    assert {path: path.read_text() for path in tmp_path.glob("*.csv")} == before


def test_refuses_a_source_that_is_no_train_csv_or_would_be_lost(root, tmp_path):
    made = long_tail_of_folders(root, tmp_path / "toy", gamma=4)
    with pytest.raises(Refusal, match=r"toy is not named <name>_train<ending>\.csv; for a sequence give its prefix"):
        long_tail_of_csv(tmp_path / "toy", tmp_path / "new", gamma=4)
    with pytest.raises(Refusal, match=r"toy_train4\.csv would be written over while it is the source"):
        long_tail_of_csv(made.trains[0], tmp_path / "toy", gamma=4)
    made.tests[0].unlink()
    with pytest.raises(Refusal, match=r"toy_test\.csv cannot be read"):
        long_tail_of_csv(made.trains[0], tmp_path / "new", gamma=4)


@pytest.fixture
def sequence(make_tree, tmp_path):
    root = make_tree({f"{split}/{name}": n for split, n in (("train", 20), ("test", 2)) for name in "abcdef"})
    make_lifelong(root, tmp_path / "ll", num_tasks=3, diminish_rate=25)
    return root, tmp_path / "ll"


def test_a_long_tail_inside_each_task(sequence, tmp_path):
    root, source = sequence
    prefix = tmp_path / "lt" / "toy"
    made = long_tail_of_tasks(source, prefix, num_tasks=3, gamma=10)
    assert [sizes.tolist() for sizes in made.sizes] == [[20, 9, 4, 2]] * 3
    rows = make_replay(prefix, num_tasks=3, rate=50)
    tasks = load_tasks(prefix, 3, root=root, num_classes=6, replay=True)
    for number, task in enumerate(tasks):
        whole = read_image_table(task_csv(source, "train", number))
        assert set(task.train.path.tolist()) < set(whole.path.tolist())
        assert set(task.train.label.tolist()) == set(whole.label.tolist()) == set(task.test.label.tolist())
        assert task_csv(prefix, "test", number).read_text() == task_csv(source, "test", number).read_text()
        assert len(task.train.path) == made.sizes[number].sum() and len(task.replay.path) == rows[number]
    assert len(read_image_table(task_csv(prefix, "train")).path) == sum(sizes.sum() for sizes in made.sizes)
    assert [path.name for path in write_counts(prefix, 3)] == ["reweight_0.json", "reweight_1.json", "reweight_2.json"]


def test_a_class_keeps_the_same_images_in_all_its_tasks(sequence, tmp_path):
    made = long_tail_of_tasks(sequence[1], tmp_path / "toy", num_tasks=3, gamma=10)
    trains = [read_image_table(path) for path in made.trains]
    compared = 0
    for one, other in itertools.combinations(trains, 2):
        for label in set(one.label.tolist()) & set(other.label.tolist()):
            few, many = sorted((table.path[table.label == label].tolist() for table in (one, other)), key=len)
            assert few == many[: len(few)]
            compared += 1
    assert compared >= 2


def test_refuses_sequences_that_do_not_fit(sequence, tmp_path):
    root, source = sequence
    with pytest.raises(Refusal, match=r"ll_train0\.csv would be written over while it is the source"):
        long_tail_of_tasks(source, source, num_tasks=3, gamma=10)
    with pytest.raises(Refusal, match=r"ll_train3\.csv cannot be read"):
        long_tail_of_tasks(source, tmp_path / "toy", num_tasks=4, gamma=10)
    with pytest.raises(Refusal, match=r"num_tasks=0 is out of range"):
        long_tail_of_tasks(source, tmp_path / "toy", num_tasks=0, gamma=10)
    write_table(task_csv(source, "train", 1), table_with([9]))
    with pytest.raises(Refusal, match=r"ll_train1\.csv: 1 class; a long tail needs 2 or more"):
        long_tail_of_tasks(source, tmp_path / "toy", num_tasks=3, gamma=10)
    assert not list(tmp_path.glob("toy*"))

import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.inspect import describe
from lifeq_jax.data.tables import table_of, task_csv, write_table

EXPECTED = """\
task  classes  train  test  replay  imbalance
   0        2      4     1       0        3.0
   1        3      3     3       1        1.0

training images of each class, largest first
task 0: 3 1
task 1: 1 1 1

classes shared by two tasks
task  0  1
   0  2  1
   1  1  3

training images shared by two tasks
task  0  1
   0  4  1
   1  1  3

task 0 has a single class in test
no leaks, contradictions, duplicates or copies of tasks (by path; --root compares the images themselves)"""


@pytest.fixture
def prefix(tmp_path):
    prefix = tmp_path / "toy"
    write_table(task_csv(prefix, "train", 0), table_of(["a/0", "a/1", "a/2", "b/0"], [0, 0, 0, 1]))
    write_table(task_csv(prefix, "train", 1), table_of(["b/0", "c/0", "d/0"], [1, 2, 3]))
    write_table(task_csv(prefix, "test", 0), table_of(["t/0"], [0]))
    write_table(task_csv(prefix, "test", 1), table_of(["t/1", "t/2", "t/3"], [1, 2, 3]))
    write_table(task_csv(prefix, "replay", 0), table_of([], []))
    write_table(task_csv(prefix, "replay", 1), table_of(["c/0"], [2]))
    return prefix


def test_describes_tasks_and_what_they_share(prefix):
    assert str(describe(prefix)) == EXPECTED and describe(prefix).faults == ()
    for path in prefix.parent.glob("toy_replay*"):
        path.unlink()
    assert "   1        3      3     3       -        1.0\n" in str(describe(prefix))


@pytest.mark.parametrize("lost", ["train1", "test1", "replay0"])
def test_a_file_that_training_needs_is_not_passed_over(prefix, lost):
    path = prefix.parent / f"toy_{lost}.csv"
    path.unlink()
    with pytest.raises(Refusal, match=rf"toy_{lost}\.csv cannot be read|2 tasks need i = 0 to 1; found: 1$"):
        describe(prefix)
    path.write_text("image,label\nz,5\n" if lost == "replay0" else "image,label\n")
    with pytest.raises(Refusal, match=rf"toy_{lost}\.csv: (no rows|'z' with label 5 is not in the train CSV)"):
        describe(prefix)


def test_refuses_a_prefix_of_nothing_and_missing_images(prefix, tmp_path):
    with pytest.raises(Refusal, match=r"none_train0\.csv does not exist; give the prefix of a task set"):
        describe(tmp_path / "none")
    with pytest.raises(Refusal, match=r"toy_train0\.csv, row 2: 'a/0' is not a file under"):
        describe(prefix, root=tmp_path)


def test_a_single_train_csv_shows_its_long_tail_and_what_only_test_has(tmp_path):
    table = table_of([f"a/{i}" for i in range(9)], [2] * 6 + [0] * 3)
    write_table(tmp_path / "toy_train50.csv", table)
    write_table(tmp_path / "toy_test.csv", table_of(["t/0", "t/1", "t/2", "t/3"], [0, 1, 2, 3]))
    assert str(describe(tmp_path / "toy_train50.csv")).splitlines()[:5] == [
        "task  classes  train  test  replay  imbalance",
        "   0        2      9     4       -        2.0",
        "",
        "training images of each class, largest first",
        "task 0: 6 3 0 0",
    ]
    with pytest.raises(Refusal, match=r"toy_train0\.csv does not exist; .*one of these CSV files: toy_train50\.csv$"):
        describe(tmp_path / "toy")


def test_a_long_list_of_sizes_is_shortened_in_the_middle(tmp_path):
    labels = [label for label in range(30) for _ in range(40 - label)]
    write_table(tmp_path / "toy_train1.csv", table_of([str(i) for i in range(len(labels))], labels))
    write_table(tmp_path / "toy_test.csv", table_of(["a", "b"], [0, 1]))
    assert str(describe(tmp_path / "toy_train1.csv")).splitlines()[4] == (
        "task 0: 40 39 38 37 36 35 34 33 32 31 ... 10 more ... 20 19 18 17 16 15 14 13 12 11"
    )

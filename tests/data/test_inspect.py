import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.inspect import describe
from lifeq_jax.data.tables import table_of, task_csv, write_table

EXPECTED = """\
task  classes  train  test  replay  imbalance
   0        2      4     1       0        3.0
   1        3      3     -       -        1.0

classes shared by two tasks
task  0  1
   0  2  1
   1  1  3

training images shared by two tasks
task  0  1
   0  4  1
   1  1  3"""


@pytest.fixture
def prefix(tmp_path):
    prefix = tmp_path / "toy"
    write_table(task_csv(prefix, "train", 0), table_of(["a/0", "a/1", "a/2", "b/0"], [0, 0, 0, 1]))
    write_table(task_csv(prefix, "train", 1), table_of(["b/0", "c/0", "d/0"], [1, 2, 3]))
    write_table(task_csv(prefix, "test", 0), table_of(["t/0"], [0]))
    write_table(task_csv(prefix, "replay", 0), table_of([], []))
    return prefix


def test_describes_tasks_and_what_they_share(prefix):
    assert describe(prefix) == EXPECTED


def test_refuses_a_prefix_of_nothing_and_missing_images(prefix, tmp_path):
    with pytest.raises(Refusal, match=r"none_train0\.csv does not exist; give the prefix of a task set"):
        describe(tmp_path / "none")
    with pytest.raises(Refusal, match=r"toy_train0\.csv, row 2: 'a/0' is not a file under"):
        describe(prefix, root=tmp_path)

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.replay import make_replay
from lifeq_jax.data.sampling import sample_rows
from lifeq_jax.data.tables import read_image_table, table_of, task_csv, write_table


@pytest.fixture
def prefix(tmp_path):
    for task, num in enumerate((20, 7, 2)):
        table = table_of([f"train/{task}/{i}.png" for i in range(num)], [i % 3 for i in range(num)])
        write_table(task_csv(tmp_path / "toy", "train", task), table)
    return tmp_path / "toy"


@pytest.mark.parametrize("rate", [0.2, 20])
def test_keeps_the_sampled_rows_in_drawn_order(prefix, rate):
    assert make_replay(prefix, num_tasks=3, rate=rate) == (4, 1, 0)
    train, replay = read_image_table(task_csv(prefix, "train", 0)), read_image_table(task_csv(prefix, "replay", 0))
    rows = sample_rows(20, 0.2, 123)
    np.testing.assert_array_equal(replay.path, train.path[rows])
    np.testing.assert_array_equal(replay.label, train.label[rows])
    assert task_csv(prefix, "replay", 2).read_text() == "image,label\n"


def test_refuses_before_it_writes(prefix):
    with pytest.raises(Refusal, match=r"toy_train3\.csv cannot be read"):
        make_replay(prefix, num_tasks=4)
    with pytest.raises(Refusal, match="replay rate=120 is out of range"):
        make_replay(prefix, num_tasks=3, rate=120)
    assert not list(prefix.parent.glob("*replay*"))

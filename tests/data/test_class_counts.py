import json
import shutil

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.class_counts import balanced_weights, write_counts
from tests import vectors

SETS = {"A": 3, "B": 3, "C": 2}


@pytest.fixture
def counts_set(tmp_path):
    def copy(name):
        for path in vectors.path(f"counts_{name}").glob("*.csv"):
            shutil.copy(path, tmp_path / f"toy_{path.name}")
        for task in range(SETS[name]):  # what training reads beside them
            shutil.copy(tmp_path / f"toy_train{task}.csv", tmp_path / f"toy_test{task}.csv")
        (tmp_path / f"toy_replay{SETS[name] - 1}.csv").write_text("image,label\n")
        return tmp_path / "toy"

    return copy


def test_sets_are_all_that_the_golden_file_holds(golden):
    names = {f"{name}/task{task}" for name, tasks in SETS.items() for task in range(tasks)}
    assert {key.rsplit("/", 1)[0] for key in golden("lq_class_weights")} == names


@pytest.mark.parametrize("name", SETS)
def test_weights_of_the_original(golden, name):
    arrays = golden("lq_class_weights")
    for task in range(SETS[name]):
        weights = balanced_weights(arrays[f"{name}/task{task}/counts"])
        assert weights.dtype == np.float32
        np.testing.assert_allclose(weights, arrays[f"{name}/task{task}/weights"], rtol=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_counts_of_the_original_csv_files(golden, counts_set, name):
    arrays = golden("lq_class_weights")
    paths = write_counts(counts_set(name), SETS[name])
    for task, path in enumerate(paths):
        assert path.name == f"reweight_{task}.json"
        written = json.loads(path.read_text())
        classes = arrays[f"{name}/task{task}/class_ids"].tolist()
        assert {int(k): v for k, v in written["counts"].items()} == dict(
            zip(classes, arrays[f"{name}/task{task}/counts"].tolist(), strict=True)
        )
        theirs = json.loads((vectors.path(f"counts_{name}") / path.name).read_text())
        assert written["weights"] == pytest.approx(theirs, rel=1e-6)


def test_weights_by_hand():
    np.testing.assert_allclose(balanced_weights(np.array([3, 1])), [0.4, 2 / 3], rtol=1e-6)
    np.testing.assert_array_equal(balanced_weights(np.full(4, 25)), np.full(4, 0.5, np.float32))


def test_refuses_what_training_refuses_before_it_writes(counts_set):
    prefix = counts_set("C")
    replay = prefix.parent / "toy_replay0.csv"
    shutil.copy(prefix.parent / "toy_train1.csv", replay)
    with pytest.raises(Refusal, match=r"toy_replay0\.csv: '.*' with label \d+ is not in the train CSV of its task"):
        write_counts(prefix, 2)
    replay.unlink()
    with pytest.raises(Refusal, match=r"toy_replay\{i\}\.csv: 2 tasks need i = 0 to 1; found: 1$"):
        write_counts(prefix, 2)
    assert not list(prefix.parent.glob("*.json"))

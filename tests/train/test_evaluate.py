"""A trained stage on any CSV."""

import numpy as np
import pytest

from lifeq_jax.api.trained import trained
from lifeq_jax.core.config import Part
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.data.tables import read_image_table
from lifeq_jax.train.evaluate import evaluate_run
from lifeq_jax.train.run import run_recipe


@pytest.fixture(scope="module")
def run(recipe, changed, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    whole = changed(recipe, {"csv": str(digits / "tasks")}, method=Part("finetune"), keep="task")
    run_recipe(whole, folder, log=lambda line: None)
    return folder


def test_evaluation_repeats_the_accuracy_matrix(run, digits):
    matrix = np.loadtxt(run / "accuracy_matrix.csv", delimiter=",", skiprows=1)
    for task in range(3):
        result = evaluate_run(run, digits / f"tasks_test{task}.csv")
        assert result.accuracy == matrix[-1, task]
        assert result.bits == (4, 4) and result.images > 0
        assert result.balanced_accuracy == pytest.approx(np.nanmean(result.per_class))


def test_the_network_after_each_task_is_kept(run, digits):
    matrix = np.loadtxt(run / "accuracy_matrix.csv", delimiter=",", skiprows=1)
    for after in range(3):
        result = evaluate_run(run, digits / "tasks_test0.csv", after_task=after)
        assert result.accuracy == matrix[after, 0] and result.notes == ()
    assert matrix[0, 0] != matrix[2, 0]
    kept, last = trained(run, after_task=2), trained(run)
    assert named_leaves(kept.params).keys() == named_leaves(last.params).keys()
    for name, leaf in named_leaves(last.params).items():
        np.testing.assert_array_equal(named_leaves(kept.params)[name], leaf, err_msg=name)
    with pytest.raises(Refusal, match="stage float of run folder .* has no network after task 1; choose from 0$"):
        evaluate_run(run, digits / "tasks_test0.csv", stage="float", after_task=1)


def test_an_earlier_stage_can_be_evaluated(run, digits):
    first = evaluate_run(run, digits / "tasks_test0.csv", stage="float")
    assert first.bits == (32, 32) and first.accuracy > 0.4


def test_evaluation_knows_the_training_images(run, digits):
    labels = [read_image_table(digits / f"tasks_train{task}.csv").label for task in range(3)]
    counts = np.array([np.bincount(label, minlength=10) for label in labels])
    last, first = (evaluate_run(run, digits / "tasks_test0.csv", stage=stage) for stage in (None, "float"))
    np.testing.assert_array_equal(last.train_images, counts.max(axis=0))
    np.testing.assert_array_equal(first.train_images, counts[0])  # the float stage trains on task 0 alone


def test_an_unknown_stage_is_refused(run, digits):
    with pytest.raises(Refusal, match="has no stage 'w2a2'; choose from float, w4a4"):
        evaluate_run(run, digits / "tasks_test0.csv", stage="w2a2")


def test_a_folder_that_is_no_run_is_refused(tmp_path, digits):
    with pytest.raises(Refusal, match="is .* a run folder?"):
        evaluate_run(tmp_path, digits / "tasks_test0.csv")

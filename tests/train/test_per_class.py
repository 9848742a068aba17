"""per_class.csv: its rows by hand, and the training images that are read back from it."""

import csv

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.tables import Rows
from lifeq_jax.train.per_class import class_rows, training_images
from lifeq_jax.train.run_folder import CLASS_COLUMNS, Metrics, read_metrics


def rows_of(labels, replayed=()):
    label = np.array([*labels, *replayed], np.int32)
    place = np.zeros(len(label), np.int32)
    return Rows(place, label, place, np.arange(len(label)) >= len(labels))


CONFUSION = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [2, 0, 5, 0], [0, 0, 0, 0]], np.float32)


def test_rows_by_hand():
    rows = class_rows("four", 2, 1, rows_of([0, 0, 1, 0], replayed=[2, 2, 0]), CONFUSION)
    assert [tuple(row) for row in rows] == [CLASS_COLUMNS] * 3  # nothing of class 3
    assert [tuple(row.values())[3:] for row in rows] == [(0, 3, 4, 3), (1, 1, 0, 0), (2, 0, 7, 5)]
    assert {tuple(row.values())[:3] for row in rows} == {("four", 2, 1)}


def write(folder, text):
    (folder / "per_class.csv").write_text(",".join(CLASS_COLUMNS) + "\n" + text)
    return folder


ROWS = "a,0,0,0,9,1,1\na,0,1,0,5,1,1\na,0,1,1,8,1,1\nb,0,0,0,3,1,1\n"


def test_training_images_are_those_of_the_tasks_finished(tmp_path):
    assert training_images(write(tmp_path, ROWS), "a", 3).tolist() == [9, 0, 0]
    assert training_images(tmp_path, "b", 3).tolist() == [3, 0, 0]


def test_training_images_are_the_most_of_any_task(tmp_path):
    later = "a,1,0,0,9,1,1\na,1,1,0,5,1,1\na,1,1,1,8,1,1\na,1,2,2,4,1,1\n"
    assert training_images(write(tmp_path, ROWS + later), "a", 3).tolist() == [9, 8, 0]


def test_a_folder_that_does_not_say_is_none(tmp_path):
    assert training_images(tmp_path, "a", 3) is None
    assert training_images(write(tmp_path, ROWS), "c", 3) is None


@pytest.mark.parametrize("row", ["a,0,0,3,9,1,1", "a,0,0,one,9,1,1", "a,0,0,1,,1,1"])
def test_a_damaged_file_is_refused(tmp_path, row):
    with pytest.raises(Refusal, match=r"per_class\.csv is damaged: .*; its columns are stage,after,task,class,"):
        training_images(write(tmp_path, f"{row}\n"), "a", 3)


def test_rows_of_a_task_come_and_go_together(tmp_path):
    metrics = Metrics(tmp_path, num_tasks=2)
    metrics.begin(lambda row: True)
    for after in (0, 1):
        metrics.append_classes(class_rows("four", after, 0, rows_of([0, 1]), CONFUSION))
    with (tmp_path / "per_class.csv").open("a") as file:
        file.write("four,1,0,2,")
    metrics.begin(lambda row: row["after"] == "0")
    metrics.append_classes(class_rows("four", 1, 1, rows_of([3]), CONFUSION))
    metrics.close()
    rows = read_metrics(tmp_path / "per_class.csv")
    assert [(row["after"], row["task"], row["class"]) for row in rows] == [
        *(("0", "0", label) for label in "012"),
        *(("1", "1", label) for label in "023"),
    ]
    with (tmp_path / "per_class.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(CLASS_COLUMNS)

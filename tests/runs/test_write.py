"""The CSV files and events of a run folder: cut back to a mark, or refused where they are not what the mark says."""

import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.runs.columns import CLASS_COLUMNS, CLASSES, DISTANCES, LAYERS, METRICS, file_columns
from lifeq_jax.runs.rows import read_rows
from lifeq_jax.runs.write import RunFiles, class_rows, distance_row, layer_rows

NAMES = (METRICS, DISTANCES, CLASSES, LAYERS)
CONFUSION = np.array([[3, 1, 0, 0], [0, 0, 0, 0], [2, 0, 5, 0], [0, 0, 0, 0]], np.float32)


def rows_of(number):
    """A row of each file."""
    place = dict(stage="a,b", task=0, epoch=number)
    return {
        METRICS: place | {"loss": 1 / number},
        DISTANCES: distance_row(place, np.full(20, number)),
        CLASSES: class_rows("a", number, 0, np.array([0, 8, 0, 0]), CONFUSION * 0)[0],
        LAYERS: layer_rows("a", number, {"stem/kernel": {"bits": 2.5}})[0],
    }


def append(files, *numbers):
    for number in numbers:
        for name, row in rows_of(number).items():
            files.append(name, row)


def begun(folder, marks):
    files = RunFiles(folder, file_columns(1))
    files.begin(marks)
    return files


@pytest.fixture
def marks(tmp_path):
    """Two rows are in every file of tmp_path."""
    files = begun(tmp_path, {})
    append(files, 1, 2)
    files.close()
    return files.marks()


DAMAGES = {
    "lost at the end": lambda header, one, two: [header, one],
    "lost between": lambda header, one, two: [header, two],
    "doubled": lambda header, one, two: [header, one, one, two],
    "swapped": lambda header, one, two: [header, two, one],
    "a byte": lambda header, one, two: [header, one.replace(b"1", b"7", 1), two],
    "the header": lambda header, one, two: [header.upper(), one, two],
    "empty": lambda *lines: [],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_what_changed_before_the_mark_is_refused(tmp_path, marks, name, damage):
    path = tmp_path / name
    damaged = b"".join(DAMAGES[damage](*path.read_bytes().splitlines(keepends=True)))
    path.write_bytes(damaged)
    with pytest.raises(Refusal, match="rows are missing, doubled or changed; put it back, or start anew") as refused:
        begun(tmp_path, marks)
    assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)
    assert path.read_bytes() == damaged


def test_a_file_that_is_gone_is_refused(tmp_path, marks):
    (tmp_path / LAYERS).unlink()
    with pytest.raises(Refusal, match=f"{LAYERS} is not what it was"):
        begun(tmp_path, marks)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rest", [b"a,0,4,", b"a,0,4,1\r\na,0,5", b'"a,'])
def test_rows_after_the_mark_are_cut_whole_and_torn(tmp_path, marks, name, rest):
    path = tmp_path / name
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    files = begun(tmp_path, marks)
    assert path.read_bytes() == whole and files.marks() == marks
    append(files, 3)
    files.close()
    fresh = begun(tmp_path / "fresh", {})
    append(fresh, 1, 2, 3)
    fresh.close()
    assert path.read_bytes() == (tmp_path / "fresh" / name).read_bytes() and files.marks() == fresh.marks()


@pytest.fixture(autouse=True)
def fresh(tmp_path):
    (tmp_path / "fresh").mkdir()


def test_without_marks_the_files_are_new(tmp_path, marks):
    begun(tmp_path, {}).close()
    assert [read_rows(tmp_path / name, least=0)[1] for name in NAMES] == [[]] * 4


def test_a_column_that_a_file_lacks_is_an_error_and_one_that_a_row_lacks_is_empty(tmp_path):
    files = begun(tmp_path, {})
    with pytest.raises(ValueError, match=r"metrics\.csv has no column 'accuracy_1'"):
        files.append(METRICS, {"stage": "a", "accuracy_1": 0.5})
    files.append(METRICS, {"stage": "a", "accuracy_0": 1 / 3})
    files.close()
    (row,) = read_rows(tmp_path / METRICS)[1]
    assert {name: text for name, text in row.items() if text} == {"stage": "a", "accuracy_0": repr(1 / 3)}


def test_a_process_that_does_not_write_leaves_nothing(tmp_path):
    files = RunFiles(tmp_path / "other", file_columns(1), writes=False)
    files.begin({})
    append(files, 1)
    files.close()
    assert files.marks() == {} and not (tmp_path / "other").exists()


def events_of(folder):
    """(step, tag, value) of the scalars in a folder's event files, in the order they were written."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, start = path.read_bytes(), 0
        while start < len(data):  # TFRecord: length, its checksum, data, its checksum
            (length,) = struct.unpack_from("<Q", data, start)
            event = Event.FromString(data[start + 12 : start + 12 + length])
            found += [(event.step, item.tag, item.simple_value) for item in event.summary.value]
            start += 16 + length
    return found


def test_events_are_numbered_by_row_and_go_on_after_the_mark(tmp_path, marks):
    files = begun(tmp_path, marks)
    append(files, 4)
    files.close()
    assert events_of(tmp_path) == [(1, "a,b/loss", 1.0), (2, "a,b/loss", 0.5), (3, "a,b/loss", 0.25)]


def test_classes_by_hand():
    rows = class_rows("four", 2, 1, np.array([2, 1, 0, 0]), CONFUSION)
    assert [tuple(row) for row in rows] == [CLASS_COLUMNS] * 3  # nothing of class 3
    assert [tuple(row.values())[3:] for row in rows] == [(0, 2, 4, 3), (1, 1, 0, 0), (2, 0, 7, 5)]
    assert {tuple(row.values())[:3] for row in rows} == {("four", 2, 1)}

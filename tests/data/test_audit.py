import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.audit import audit
from lifeq_jax.data.inspect import describe
from lifeq_jax.data.tables import Task, table_of, task_csv, write_table

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8)


@pytest.fixture
def sequence(tmp_path):
    """sequence([({path: (picture, label), ...} of train, the same of test), ...]) -> (prefix, root)."""

    def make(*tasks):
        for task, both in enumerate(tasks):
            for kind, files in zip(("train", "test"), both, strict=True):
                for path, (picture, _) in files.items():
                    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(PIXELS[picture]).save(tmp_path / path)
                table = table_of(list(files), [label for _, label in files.values()])
                write_table(task_csv(tmp_path / "toy", kind, task), table)
        return tmp_path / "toy", tmp_path

    return make


FIRST = {"a/0.png": (0, 0), "a/1.png": (1, 0), "b/0.png": (2, 1)}
TEST = {"t/0.png": (3, 0), "t/1.png": (4, 1)}


def test_tasks_may_share_training_images(sequence):
    prefix, root = sequence((FIRST, TEST), ({"b/0.png": (2, 1), "c/0.png": (5, 2)}, {"t/1.png": (4, 1)}))
    assert describe(prefix, root).faults == describe(prefix).faults == ()


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_leak_is_seen_by_content_in_any_task(sequence, ending):
    prefix, root = sequence((FIRST, TEST), ({"c/0.png": (5, 2)}, {f"t/2.{ending}": (6, 0)}))
    assert describe(prefix, root).faults == ()
    pixels = Image.open(root / "a/1.png")
    if ending == "jpg":  # a gray JPEG that was opened and saved as a PNG of three channels
        pixels.save(root / "t/2.jpg")
        Image.open(root / "t/2.jpg").convert("RGB").save(root / "a/1.png")
    else:
        pixels.save(root / f"t/2.{ending}", compress_level=0)
    told = f"leaks, test images that are training images: 1 (t/2.{ending} (toy_test1.csv) is a/1.png (toy_train0.csv))"
    assert describe(prefix, root).faults == (told,) and told in str(describe(prefix, root))
    assert describe(prefix).faults == ()


def test_contradictions_and_duplicates_with_and_without_the_images(sequence):
    tasks = ({**FIRST, "b/1.png": (0, 1), "b/2.png": (2, 1)}, TEST), ({"a/0.png": (0, 3), "c/0.png": (5, 2)}, TEST)
    prefix, root = sequence(*tasks)
    assert describe(prefix, root).faults == (
        "contradictions, images with several labels: 1 (a/0.png has label 0 in toy_train0.csv, b/1.png 1 in "
        "toy_train0.csv)",
        "duplicates: 2 (a/0.png (toy_train0.csv) and b/1.png (toy_train0.csv); b/0.png (toy_train0.csv) and b/2.png "
        "(toy_train0.csv))",
    )
    (told,) = describe(prefix).faults
    assert told.endswith(": 1 (a/0.png has label 0 in toy_train0.csv, a/0.png 3 in toy_train1.csv)")


def test_a_row_that_is_there_twice_and_long_lists(sequence):
    prefix, root = sequence((FIRST, TEST))
    twice = [path for path in FIRST for _ in range(2)]
    for place in (None, root):
        task = Task(table_of(twice * 2, [0] * 12), table_of(twice, [0] * 6), None)
        leaks, duplicates = audit(prefix, [task], place)
        assert leaks.startswith("leaks, test images that are training images: 3 (a/0.png (toy_test0.csv) is a/0.png")
        assert duplicates.startswith("duplicates: 3 (a/0.png (toy_train0.csv) and a/0.png (toy_train0.csv); ")
    many = table_of([str(i) for i in range(8)], [0] * 8)
    assert audit(prefix, [Task(many, many, None)], None)[0].endswith("2 (toy_test0.csv) is 2 (toy_train0.csv); 5 more)")


def test_copies_of_tasks(sequence):
    other = {"c/0.png": (5, 2)}, {"t/2.png": (6, 2)}
    prefix, root = sequence((FIRST, TEST), other, (FIRST, TEST))
    assert describe(prefix, root).faults == ("copies of tasks: 1 (toy_train0.csv and toy_train2.csv)",)


def test_refuses_an_image_that_training_cannot_read(sequence):
    prefix, root = sequence((FIRST, TEST))
    (root / "t/1.png").write_bytes(b"no image")
    with pytest.raises(Refusal, match=r"toy_test0\.csv, row 3: .*t/1\.png is not a readable image"):
        describe(prefix, root)

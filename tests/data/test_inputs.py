"""The two input paths give the same batches, to the last bit."""

import jax
import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data import order, resident
from lifeq_jax.data.augment import normalize
from lifeq_jax.data.order import ImageSpec
from lifeq_jax.data.pipeline import pipeline
from lifeq_jax.data.tables import BrokenImage, catalog, concat_rows, rows_of
from lifeq_jax.data.walk import list_images
from tests.data import odd_files

COLOR = ImageSpec((8, 10, 3), 2, (8, 8), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), True)
GRAY = COLOR._replace(stored=(8, 10, 1), mean=(0.3,), std=(0.2,))


def rows_and_catalog(root):
    table = list_images(root, "train").table
    known = catalog([table])
    return known, concat_rows([rows_of(known, table, 1, False), rows_of(known, table, 0, True)])


def plans(num_rows, spec, batch_size=4):
    yield order.train_plan(num_rows, batch_size, spec, seed=0, stage=1, task=2, epoch=3)
    yield order.test_plan(num_rows, batch_size, spec)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


CASES = {
    "color jpg as color": ((8, 10, 3), "jpg", COLOR),
    "color jpg as gray": ((8, 10, 3), "jpg", GRAY),
    "gray jpg as color": ((8, 10, 1), "jpg", COLOR),
    "gray jpg as gray": ((8, 10, 1), "jpg", GRAY),
    "color png as color": ((8, 10, 3), "png", COLOR),
    "color png as gray": ((8, 10, 3), "png", GRAY),
    "gray png as color": ((8, 10, 1), "png", COLOR),
    "gray png as gray": ((8, 10, 1), "png", GRAY),
    "png with alpha": ((8, 10, 4), "png", COLOR),
}


@pytest.mark.exact
@pytest.mark.parametrize("case", CASES)
def test_both_paths_give_the_same_batches(case, make_tree):
    shape, kind, spec = CASES[case]
    root = make_tree({"train/a": 3, "train/b": 4}, shape, kind)
    known, rows = rows_and_catalog(root)
    inputs = resident.resident(root, known, spec), pipeline(root, known, spec, prefetch=2)
    on_device, from_files = [jax.jit(one.assemble) for one in inputs]
    for plan in plans(len(rows.index), spec):
        feeds = [list(one.feeds(rows, plan, 0)) for one in inputs]
        assert len(feeds[0]) == len(feeds[1]) == len(plan.row)
        for step, (a, b) in enumerate(zip(*feeds, strict=True)):
            batch = on_device(inputs[0].constants, a)
            assert_same(batch, from_files(inputs[1].constants, b))
            assert batch.image.dtype == np.float32 and batch.image.shape == (4, *spec.crop, spec.stored[2])
            np.testing.assert_array_equal(batch.label, rows.label[plan.row[step]])
            np.testing.assert_array_equal(batch.task, rows.task[plan.row[step]])
            np.testing.assert_array_equal(batch.is_replay, rows.is_replay[plan.row[step]])
            np.testing.assert_array_equal(batch.weight, plan.weight[step])
            image = np.where(plan.weight[step] > 0, rows.index[plan.row[step]], -1)
            assert batch.index.dtype == np.int32
            np.testing.assert_array_equal(batch.index, image)


def test_large_jpgs_with_subsampled_color_decode_alike(make_tree):
    spec = COLOR._replace(stored=(67, 93, 3), crop=(64, 64))
    root = make_tree({"train/a": 4}, (67, 93, 3), "jpg")
    for index, path in enumerate(sorted((root / "train/a").iterdir())):
        smooth = Image.open(path).resize((9, 7)).resize((93, 67), Image.Resampling.BICUBIC)
        smooth.save(path, quality=(30, 75, 90, 100)[index], subsampling=index % 3, progressive=index == 3)
    known, rows = rows_and_catalog(root)
    plan = order.test_plan(len(rows.index), 4, spec)
    inputs = resident.resident(root, known, spec), pipeline(root, known, spec)
    assert_same(*[one.assemble(one.constants, next(one.feeds(rows, plan, 0))) for one in inputs])


@pytest.mark.parametrize("spec", [COLOR, GRAY], ids=["color", "gray"])
def test_unusual_pngs_decode_alike(spec, make_tree):
    root = make_tree({"train/a": 7}, (8, 10, 3))
    files = sorted((root / "train/a").iterdir())
    for path, mode in zip(files, ("1", "L", "LA", "P", "RGB", "RGBA", "P"), strict=True):
        Image.open(path).convert(mode).save(path, **({"transparency": 3} if path == files[-1] else {}))
    known, rows = rows_and_catalog(root)
    plan = order.test_plan(len(rows.index), 14, spec)
    inputs = resident.resident(root, known, spec), pipeline(root, known, spec)
    assert_same(*[one.assemble(one.constants, next(one.feeds(rows, plan, 0))) for one in inputs])


def test_a_test_batch_by_hand(make_tree):
    root = make_tree({"train/a": 2})
    spec = COLOR._replace(stored=(8, 8, 3), pad=0, crop=(6, 4))
    known, rows = rows_and_catalog(root)
    one = resident.resident(root, known, spec)
    batch = one.assemble(one.constants, next(one.feeds(rows, order.test_plan(4, 4, spec), 0)))
    files = np.stack([np.asarray(Image.open(root / path)) for path in known.paths])
    np.testing.assert_array_equal(batch.image, normalize(files[[0, 1, 0, 1], 1:7, 2:6], spec))


@pytest.mark.parametrize("make", [resident.resident, pipeline])
def test_feeds_from_a_later_step_are_the_tail(make, make_tree):
    root = make_tree({"train/a": 7}, (8, 10, 3))
    known, rows = rows_and_catalog(root)
    one = make(root, known, COLOR)
    for plan in plans(len(rows.index), COLOR, batch_size=3):
        whole = list(one.feeds(rows, plan, 0))
        for step in range(len(whole) + 1):
            assert_same(list(one.feeds(rows, plan, step)), whole[step:])


def test_a_batch_is_traced_once_per_shape(make_tree):
    root = make_tree({"train/a": 6}, (8, 10, 3))
    known, rows = rows_and_catalog(root)
    one = resident.resident(root, known, COLOR)
    traces = []
    assemble = jax.jit(lambda constants, feed: traces.append(1) or one.assemble(constants, feed))
    for plan in plans(len(rows.index), COLOR):
        for feed in one.feeds(rows, plan, 0):
            assemble(one.constants, feed)
    assert len(traces) == 1


REFUSED = {name: content for name, (_, content, _) in odd_files.REFUSED.items()} | odd_files.DAMAGED | {
    "inks": odd_files.INKS["inks.jpg"][0],
    "size": odd_files.saved(Image.new("RGB", (8, 10)), "JPEG"),
    "missing": None,
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_both_paths_refuse_the_same_file(kind, make_tree):
    root = make_tree({"train/a": 2, "train/b": 2}, (8, 10, 3), "jpg")
    known, rows = rows_and_catalog(root)
    path = root / "train/b/0001.jpg"
    path.unlink() if REFUSED[kind] is None else path.write_bytes(REFUSED[kind])
    with pytest.raises(Refusal, match=r"train/b/0001\.jpg (is|has) ") as caught:
        resident.resident(root, known, COLOR)
    feeds = pipeline(root, known, COLOR).feeds(rows, order.test_plan(8, 2, COLOR), 0)
    assert next(feeds).label.tolist() == [0, 0]
    with pytest.raises(Refusal) as later:
        next(feeds)
    assert str(later.value) == str(caught.value) and "\n" not in str(later.value)


@pytest.mark.parametrize("spec", [COLOR, GRAY], ids=["color", "gray"])
def test_both_paths_read_the_same_of_files_out_of_the_ordinary(spec, make_tree):
    contents = [content for content, _ in (odd_files.SAME | odd_files.FRAMES).values()]
    root = make_tree({"train/a": len(contents)}, (8, 10, 3))
    known, rows = rows_and_catalog(root)
    for path, content in zip(known.paths, contents, strict=True):
        (root / path).write_bytes(content)
    plan = order.test_plan(len(rows.index), len(rows.index), spec)
    inputs = resident.resident(root, known, spec), pipeline(root, known, spec)
    for _ in range(2):  # the pipeline looks at a file's metadata at its first use alone
        assert_same(*[one.assemble(one.constants, next(one.feeds(rows, plan, 0))) for one in inputs])


def test_an_image_that_only_tensorflow_rejects_ends_in_a_refusal(make_tree, monkeypatch):
    root = make_tree({"train/a": 1}, (8, 10, 3))
    known, rows = rows_and_catalog(root)
    broken_file = root / known.paths[0]
    broken_file.write_bytes(b"")
    monkeypatch.setattr("lifeq_jax.data.pipeline.read_under", lambda *args: None)
    with pytest.raises(BrokenImage, match=r"train/a/0000\.png is not readable by TensorFlow \("):
        next(pipeline(root, known, COLOR).feeds(rows, order.test_plan(2, 2, COLOR), 0))
    monkeypatch.setattr("lifeq_jax.data.pipeline._refuse_first", lambda *args: None)
    with pytest.raises(Refusal, match=r"^step 0: images under .* cannot be read"):
        next(pipeline(root, known, COLOR).feeds(rows, order.test_plan(2, 2, COLOR), 0))


def test_auto_takes_resident_up_to_the_stated_share_of_memory(monkeypatch):
    monkeypatch.setattr(resident, "memory_bytes", lambda: 48_000)
    assert resident.choose_input("auto", 100, COLOR) == "resident"
    assert resident.choose_input("auto", 101, COLOR) == "pipeline"
    assert resident.choose_input("auto", 101, COLOR, share=0.6) == "resident"
    assert resident.choose_input("pipeline", 1, COLOR) == "pipeline"
    assert resident.choose_input("resident", 10**9, COLOR) == "resident"
    with pytest.raises(Refusal, match=r"input='disk' is unknown; choose from auto, pipeline, resident"):
        resident.choose_input("disk", 1, COLOR)


def test_images_of_any_size_go_through_the_pipeline():
    spec = COLOR._replace(stored=(10, 10, 3), pad=0, resize="random_resized_crop")
    assert resident.choose_input("auto", 1, spec) == resident.choose_input("pipeline", 1, spec) == "pipeline"
    with pytest.raises(Refusal, match=r"input='resident' needs images of one size, resize='random_resized_crop' any"):
        resident.choose_input("resident", 1, spec)
    with pytest.raises(Refusal, match=r"crop \(8, 11\) does not fit"):
        resident.choose_input("auto", 1, spec._replace(crop=(8, 11)))


def test_memory_is_the_devices_limit_or_the_hosts(monkeypatch):
    assert 2**26 < resident.memory_bytes() < 2**50

    class Device:
        def memory_stats(self):
            return {"bytes_limit": 123}

    monkeypatch.setattr(resident.jax, "local_devices", lambda: [Device()])
    assert resident.memory_bytes() == 123

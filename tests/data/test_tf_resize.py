"""Images of any size: boxes as torchvision draws them, pixels as Pillow makes them, order and resume as ever."""

import math

import jax
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data import order
from lifeq_jax.data.augment import normalize
from lifeq_jax.data.decode import stored_image
from lifeq_jax.data.order import TRIES, ImageSpec, box_draws, train_plan
from lifeq_jax.data.pipeline import pipeline
from lifeq_jax.data.tables import catalog, rows_of
from lifeq_jax.data.tf_resize import random_box
from lifeq_jax.data.walk import list_images

SPEC = ImageSpec((16, 16, 3), 0, (14, 12), (0.49, 0.48, 0.45), (0.25, 0.24, 0.26), True, "random_resized_crop")
GRAY = SPEC._replace(stored=(16, 16, 1), mean=(0.3,), std=(0.2,))
PLACE = {"seed": 1, "stage": 0, "task": 0, "epoch": 0}
# file -> (size as Pillow counts, width first; mode; how it is saved)
FILES = {
    "odd.jpg": ((37, 23), "RGB", {"subsampling": 2, "quality": 80}),
    "progressive.jpg": ((51, 64), "RGB", {"progressive": True}),
    "gray.jpg": ((19, 33), "L", {}),
    "inks.jpeg": ((28, 45), "CMYK", {"quality": 95}),
    "tall.jpg": ((1, 70), "RGB", {}),
    "wide.jpg": ((90, 1), "L", {}),
    "point.png": ((1, 1), "RGB", {}),
    "exact.png": ((16, 16), "RGB", {}),
    "gray.png": ((31, 17), "L", {}),
    "palette.png": ((20, 27), "P", {}),
    "alpha.png": ((40, 25), "RGBA", {}),
    "large.jpg": ((333, 250), "RGB", {"subsampling": 1}),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """(root, catalog, rows) of the FILES."""
    root, random = tmp_path_factory.mktemp("sizes"), np.random.default_rng(0)
    (root / "train/a").mkdir(parents=True)
    for name, ((width, height), mode, how) in FILES.items():
        pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).convert(mode).save(root / "train/a" / name, **how)
    table = list_images(root, "train").table
    known = catalog([table])
    return root, known, rows_of(known, table, 0, False)


def box_by_hand(height, width, draw):
    """torchvision's RandomResizedCrop.get_params in plain Python, over the numbers that were drawn."""
    for tall, broad in draw[:TRIES].tolist():
        h, w = round(tall * math.sqrt(height * width)), round(broad * math.sqrt(height * width))
        if 0 < w <= width and 0 < h <= height:
            y, x = draw[TRIES].tolist()
            return [math.floor(y * (height - h + 1)), math.floor(x * (width - w + 1)), h, w]
    h, w = height, width
    if width / height < 3 / 4:
        h = round(width / (3 / 4))
    elif width / height > 4 / 3:
        w = round(height * (4 / 3))
    return [(height - h) // 2, (width - w) // 2, h, w]


def test_a_box_by_hand():
    draw = np.full((TRIES + 1, 2), 2, np.float32)
    draw[3], draw[4], draw[TRIES] = (0.5, 0.4), (0.1, 0.1), (0.5, 0.25)
    assert random_box(tf, tf.constant([100, 100]), draw).numpy().tolist() == [25, 15, 50, 40]
    draw[:TRIES] = 2
    for sides, box in {
        (10, 100): [0, 43, 10, 13],
        (100, 10): [43, 0, 13, 10],
        (10, 12): [0, 0, 10, 12],
        (1, 1): [0, 0, 1, 1],
    }.items():
        assert random_box(tf, tf.constant(sides), draw).numpy().tolist() == box


def test_boxes_are_those_of_torchvision():
    random = np.random.default_rng(0)
    boxes = tf.function(lambda sides, draw: random_box(tf, sides, draw))
    fell_back = 0
    for draw in box_draws(random, 400):
        height, width = (int(side) for side in np.exp(random.uniform(0, 7, 2)))
        box = boxes(np.array([height, width], np.int32), draw).numpy().tolist()
        assert box == box_by_hand(height, width, draw)
        y, x, h, w = box
        assert 0 <= y <= height - h and 0 <= x <= width - w and min(h, w) >= 1
        fell_back += box == box_by_hand(height, width, np.full_like(draw, 9))
    assert 40 < fell_back < 360


def test_draws_cover_8_to_100_per_cent_at_ratios_of_3_4_to_4_3():
    draw = box_draws(np.random.default_rng(0), 2000)
    assert draw.shape == (2000, TRIES + 1, 2) and draw.dtype == np.float32
    tall, broad = draw[:, :TRIES, 0].astype(float), draw[:, :TRIES, 1].astype(float)
    area, ratio = tall * broad, broad / tall
    assert 0.0799 < area.min() < 0.081 and 0.999 < area.max() < 1.0001
    assert 0.7499 < ratio.min() < 0.751 and 1.332 < ratio.max() < 1.3334
    np.testing.assert_allclose(np.quantile(area, [0.25, 0.5, 0.75]), [0.31, 0.54, 0.77], atol=0.01)
    quarters = np.quantile(np.log(ratio) / math.log(4 / 3), [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quarters, [-0.5, 0, 0.5], atol=0.02)
    assert draw[:, TRIES].min() >= 0 and draw[:, TRIES].max() < 1
    np.testing.assert_allclose(draw[:, TRIES].mean(0), 0.5, atol=0.02)


def pillow(path, spec):
    return stored_image(path.read_bytes(), inks=True)[0].convert("L" if spec.stored[2] == 1 else "RGB")


def in_training(path, draw, flip, spec):
    image = pillow(path, spec)
    y, x, h, w = box_by_hand(image.height, image.width, draw)
    image = image.crop((x, y, x + w, y + h)).resize(spec.crop[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)[:, ::-1] if flip else np.asarray(image)


def in_evaluation(path, spec):
    image, side = pillow(path, spec), spec.stored[0]
    short = min(image.size)
    image = image.resize([int(side * long / short) for long in image.size], Image.Resampling.BILINEAR)
    y, x = round((image.height - spec.crop[0]) / 2), round((image.width - spec.crop[1]) / 2)
    return np.asarray(image)[y : y + spec.crop[0], x : x + spec.crop[1]]


def assert_pillows(image, expected, path):
    """Pillow rounds between its two passes; TensorFlow rounds inks down."""
    far = 2 if "inks" in path else 1
    difference = np.abs(image.reshape(expected.shape).astype(int) - expected.astype(int))
    assert difference.max() <= far and (difference > 0).mean() < 0.4, path


@pytest.mark.parametrize("spec", [SPEC, GRAY], ids=["color", "gray"])
def test_training_images_are_pillows(images, spec):
    root, known, rows = images
    for epoch in range(3):
        plan = train_plan(len(rows.index), 4, spec, **{**PLACE, "epoch": epoch})
        for step, feed in enumerate(pipeline(root, known, spec).feeds(rows, plan, 0)):
            assert feed.image.dtype == np.uint8 and feed.image.shape == (4, *spec.crop, spec.stored[2])
            for place, row in enumerate(plan.row[step]):
                path = known.paths[rows.index[row]]
                draw, flip = plan.draw[step, place], plan.flip[step, place]
                assert_pillows(feed.image[place], in_training(root / path, draw, flip, spec), path)


@pytest.mark.parametrize("spec", [SPEC, GRAY, SPEC._replace(crop=(16, 16))], ids=["color", "gray", "whole side"])
def test_evaluation_images_are_pillows(images, spec):
    root, known, rows = images
    plan = order.test_plan(len(rows.index), len(rows.index), spec)
    (feed,) = pipeline(root, known, spec).feeds(rows, plan, 0)
    for image, path in zip(feed.image, known.paths, strict=True):
        assert_pillows(image, in_evaluation(root / path, spec), path)


def test_an_image_of_the_evaluation_size_is_cut_exactly(images):
    root, known, rows = images
    plan = order.test_plan(len(rows.index), len(rows.index), SPEC)
    (feed,) = pipeline(root, known, SPEC).feeds(rows, plan, 0)
    path = "train/a/exact.png"
    pixels = np.asarray(Image.open(root / path))
    np.testing.assert_array_equal(feed.image[known.paths.index(path)], pixels[1:15, 2:14])


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("size", [(1, 40), (3, 2), (200, 31)])
def test_a_plain_image_stays_plain(tmp_path, value, size):
    (tmp_path / "train/a").mkdir(parents=True)
    Image.new("RGB", size, (value, value, value)).save(tmp_path / "train/a/x.png")
    table = list_images(tmp_path, "train").table
    rows = rows_of(catalog([table]), table, 0, False)
    for plan in (train_plan(1, 1, SPEC, **PLACE), order.test_plan(1, 1, SPEC)):
        (feed,) = pipeline(tmp_path, catalog([table]), SPEC).feeds(rows, plan, 0)
        assert (feed.image == value).all()


def test_passes_repeat_and_resume_exactly(images):
    root, known, rows = images
    for plan in (train_plan(len(rows.index), 4, SPEC, **PLACE), order.test_plan(len(rows.index), 5, SPEC)):
        whole = list(pipeline(root, known, SPEC).feeds(rows, plan, 0))
        for step in range(len(whole) + 1):
            tail = list(pipeline(root, known, SPEC, prefetch=1).feeds(rows, plan, step))
            assert len(tail) == len(whole) - step
            jax.tree.map(np.testing.assert_array_equal, tail, whole[step:])


def test_epochs_differ_and_mirrors_mirror(images):
    root, known, rows = images
    source = pipeline(root, known, SPEC)
    plan = train_plan(len(rows.index), len(rows.index), SPEC, **PLACE)
    (feed,) = source.feeds(rows, plan, 0)
    (plain,) = source.feeds(rows, plan._replace(flip=np.zeros_like(plan.flip)), 0)
    assert plan.flip.any() and not plan.flip.all()
    mirrored = np.where(plan.flip[0][:, None, None, None], plain.image[:, :, ::-1], plain.image)
    np.testing.assert_array_equal(feed.image, mirrored)
    other = train_plan(len(rows.index), len(rows.index), SPEC, **{**PLACE, "epoch": 1})
    assert (other.draw != plan.draw).mean() > 0.9


def test_a_batch_is_normalized_in_the_compiled_step(images):
    root, known, rows = images
    source = pipeline(root, known, SPEC)
    feed = next(source.feeds(rows, train_plan(len(rows.index), 4, SPEC, **PLACE), 0))
    batch = jax.jit(source.assemble)(source.constants, feed)
    assert batch.image.dtype == np.float32
    np.testing.assert_array_equal(batch.image, normalize(feed.image, SPEC))


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "16 bits", "gif", "missing"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_refuses_a_broken_file_by_name(make_tree, kind, training):
    root = make_tree({"train/a": 2}, (30, 20, 3), "jpg")
    table = list_images(root, "train").table
    known = catalog([table])
    rows, path = rows_of(known, table, 0, False), root / "train/a/0001.jpg"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "16 bits":
        Image.fromarray(np.zeros((8, 10), np.uint16)).save(path, format="PNG")
    elif kind == "gif":
        Image.new("RGB", (10, 8)).save(path, format="GIF")
    else:
        path.unlink() if kind == "missing" else path.write_bytes(b"" if kind == "empty" else b"no image")
    plan = train_plan(2, 2, SPEC, **PLACE) if training else order.test_plan(2, 2, SPEC)
    with pytest.raises(Refusal, match=r"train/a/0001\.jpg (is|has) ") as caught:
        next(pipeline(root, known, SPEC).feeds(rows, plan, 0))
    assert "\n" not in str(caught.value)

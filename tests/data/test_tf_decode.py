"""The bits of Pillow, whole and in part, for every way of storing color."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lifeq_jax.data.tf_decode import decoded, decoded_box, with_channels


def noise(random, shape):
    return Image.fromarray(random.integers(0, 256, shape).astype(np.uint8))


def content_of(image, kind="JPEG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def color(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("subsampling", [0, 1, 2], ids=["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_box_of_a_jpeg_is_cut_from_pillows_bits(subsampling, progressive):
    random = np.random.default_rng(subsampling)
    cuts = tf.function(lambda content, box: decoded_box(tf, content, lambda sides: box))
    for _ in range(15):
        height, width = random.integers(1, 90, 2)
        content = content_of(noise(random, (height, width, 3)), subsampling=subsampling, progressive=progressive)
        whole = color(content)
        np.testing.assert_array_equal(decoded(tf, content), whole)
        y, x = random.integers(0, height), random.integers(0, width)
        size = random.integers(1, height - y + 1), random.integers(1, width - x + 1)
        box = np.array([y, x, *size], np.int32)
        np.testing.assert_array_equal(cuts(content, box), whole[y : y + size[0], x : x + size[1]])


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_a_box_of_a_png_is_cut_from_pillows_bits(mode):
    content = content_of(noise(np.random.default_rng(0), (9, 14, 3)).convert(mode), "PNG")
    sides = []
    cut = decoded_box(tf, content, lambda of: sides.append(of.numpy().tolist()) or tf.constant([2, 3, 4, 11]))
    assert sides == [[9, 14]]
    np.testing.assert_array_equal(cut, color(content)[2:6, 3:14])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_gray_file_gives_three_equal_channels(kind):
    content = content_of(noise(np.random.default_rng(0), (9, 14, 3)).convert("L"), kind)
    image = decoded(tf, content).numpy()
    np.testing.assert_array_equal(image, color(content))
    assert image.shape == (9, 14, 3) and (image == image[..., :1]).all() and len(np.unique(image)) > 9


def test_inks_are_within_one_of_pillow():
    content = content_of(noise(np.random.default_rng(0), (41, 30, 4)).convert("RGB").convert("CMYK"), quality=95)
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    np.testing.assert_allclose(decoded(tf, content), color(content), rtol=0, atol=1)
    cut = decoded_box(tf, content, lambda sides: tf.constant([5, 7, 20, 11]))
    np.testing.assert_array_equal(cut, decoded(tf, content)[5:25, 7:18])


def test_gray_is_pillows():
    image = noise(np.random.default_rng(0), (32, 32, 3))
    pixels = tf.constant(np.asarray(image))
    np.testing.assert_array_equal(with_channels(tf, pixels, 1)[..., 0], np.asarray(image.convert("L")))
    np.testing.assert_array_equal(with_channels(tf, pixels, 3), pixels)

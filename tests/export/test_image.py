"""Image files as the network was trained on them."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.augment import normalize
from lifeq_jax.data.decode import read_image
from lifeq_jax.data.order import ImageSpec
from lifeq_jax.data.prepare import resized_square
from lifeq_jax.export.image import InputSpec, read_pixels

RANDOM = np.random.default_rng(0)
COLOR = RANDOM.integers(0, 256, (12, 10, 3)).astype(np.uint8)


def spec(size=(12, 10, 3), pad=0, crop=None, **more):
    channels = size[2]
    return InputSpec(size, pad, crop or size[:2], (0.3,) * channels, (0.2,) * channels, **more)


def save(tmp_path, image, name="a.png", **how):
    image.save(tmp_path / name, **how)
    return tmp_path / name


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_the_training_size_have_the_training_bits(tmp_path, mode, channels):
    path = save(tmp_path, Image.fromarray(COLOR).convert(mode))
    wanted = ImageSpec((12, 10, channels), 0, (12, 10), (0.5,) * channels, (0.5,) * channels, False)
    np.testing.assert_array_equal(read_pixels(path, spec((12, 10, channels))), read_image(path, wanted))


def test_another_size_is_brought_to_it_as_data_prepare_does(tmp_path):
    path = save(tmp_path, Image.fromarray(RANDOM.integers(0, 256, (31, 47, 3)).astype(np.uint8)))
    expected = np.asarray(resized_square(Image.open(path), 8))
    np.testing.assert_array_equal(read_pixels(path, spec((8, 8, 3))), expected)


def test_the_middle_of_the_padded_image(tmp_path):
    path = save(tmp_path, Image.fromarray(COLOR))
    found = read_pixels(path, spec(pad=2, crop=(14, 7)))
    np.testing.assert_array_equal(found, np.pad(COLOR, ((1, 1), (0, 0), (0, 0)))[:, 1:8])


def test_by_the_short_side(tmp_path):
    flat = np.zeros((40, 80, 3), np.uint8)
    flat[:, 30:50] = 255  # the middle 20 of 80 columns, 10 of 40 when the short side is 20
    path = save(tmp_path, Image.fromarray(flat))
    found = read_pixels(path, spec((20, 20, 3), crop=(16, 16), by_short_side=True))
    assert found.shape == (16, 16, 3)
    assert found[8, 5:11].min() == 255 and found[8, [0, 1, 14, 15]].max() == 0


def test_a_photograph_lies_as_its_tag_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right
    turned = Image.fromarray(np.rot90(COLOR).copy())
    path = save(tmp_path, turned, exif=exif)
    np.testing.assert_array_equal(read_pixels(path, spec()), COLOR)


@pytest.mark.parametrize(("mean", "std"), [((0.305,), (0.376,)), ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))])
def test_numbers_are_those_of_the_training_step(mean, std):
    channels = len(mean)
    own = InputSpec((1, 256, channels), 0, (1, 256), mean, std)
    every = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1), (1, 1, 256, channels))
    trained = normalize(jnp.asarray(every), ImageSpec((1, 256, channels), 0, (1, 256), mean, std, False))
    np.testing.assert_array_equal(own.numbers()[0].T, trained[0, 0])


def test_numbers_of_every_task():
    own = InputSpec((4, 4, 1), 0, (4, 4), (0.1, 0.5), (0.2, 0.4))
    assert own.numbers().shape == (2, 1, 256)
    np.testing.assert_allclose(own.numbers()[1, 0, 255], (1 - 0.5) / 0.4, rtol=1e-6)


def test_refused_files(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(Refusal, match="text.png is not a readable image"):
        read_pixels(tmp_path / "text.png", spec())
    with pytest.raises(Refusal, match="nothing.png is not a readable image"):
        read_pixels(tmp_path / "nothing.png", spec())
    deep = save(tmp_path, Image.fromarray(np.zeros((4, 4), np.uint16)), "deep.png")
    with pytest.raises(Refusal, match="deep.png has pixels of kind I;16; choose from 1, L"):
        read_pixels(deep, spec())
    whole = save(tmp_path, Image.fromarray(COLOR)).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refusal, match="half.png is not a readable image"):
        read_pixels(tmp_path / "half.png", spec())

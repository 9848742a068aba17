import os

import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import any_image, check_stored, decode, read_image, stored_image
from lifeq_jax.data.order import ImageSpec
from tests.data import odd_files

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
COLOR = ImageSpec((4, 6, 3), 0, (4, 6), (0.5,) * 3, (0.5,) * 3, False)
GRAY = COLOR._replace(stored=(4, 6, 1), mean=(0.5,), std=(0.5,))
ANY_SIZE = COLOR._replace(stored=(9, 9, 3), resize="random_resized_crop")


@pytest.fixture
def saved(tmp_path):
    """saved(image) -> its path as PNG."""

    def save(image, name="x.png"):
        image.save(tmp_path / name)
        return tmp_path / name

    return save


def pixels_of(image):
    return np.asarray(image).reshape(image.height, image.width, -1)


def test_color_and_gray_by_hand(saved):
    path = saved(Image.fromarray(PIXELS))
    np.testing.assert_array_equal(read_image(path, COLOR), PIXELS)
    gray = (PIXELS.astype(np.int64) @ [19595, 38470, 7471] + 2**15) >> 16
    np.testing.assert_array_equal(read_image(path, GRAY)[..., 0], gray)
    path = saved(Image.fromarray(PIXELS[..., 0]))
    np.testing.assert_array_equal(read_image(path, COLOR), np.repeat(PIXELS[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(read_image(path, GRAY), PIXELS[..., :1])


@pytest.mark.parametrize(("mode", "kind"), [("1", "L"), ("LA", "L"), ("P", "RGB"), ("RGBA", "RGB")])
@pytest.mark.parametrize("read", [stored_image, any_image])
def test_other_8_bit_modes_become_gray_or_color(mode, kind, read):
    image = Image.fromarray(PIXELS).convert(mode)
    opened, kinds = read(odd_files.saved(image))
    assert (opened.mode, kinds) == (kind, ())
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(image.convert(kind)))


def test_decodes_in_the_given_order(saved, tmp_path):
    saved(Image.fromarray(PIXELS), "a.png")
    saved(Image.fromarray(255 - PIXELS), "b.png")
    images = decode(tmp_path, ["b.png", "a.png", "b.png"], COLOR)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.stack([255 - PIXELS, PIXELS, 255 - PIXELS]))


def test_files_are_decoded_once_until_one_changes(saved, tmp_path):
    path = saved(Image.fromarray(PIXELS))
    first = decode(tmp_path, ["x.png"], COLOR)
    assert decode(tmp_path, ["x.png"], COLOR) is first and not first.flags.writeable
    assert decode(tmp_path, ["x.png"], GRAY).shape == (1, 4, 6, 1)
    before = path.stat()
    path.write_bytes(saved(Image.fromarray(255 - PIXELS), "y.png").read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    np.testing.assert_array_equal(decode(tmp_path, ["x.png"], COLOR), 255 - PIXELS[None])
    path.unlink()
    with pytest.raises(Refusal, match=r"x\.png is not a readable image"):
        decode(tmp_path, ["x.png"], COLOR)


def test_a_refusal_names_the_file_and_the_way_out(saved):
    with pytest.raises(Refusal, match=r"x\.png is 6x4 pixels, not 4x6; `lifeq-jax data prepare .* --size N` makes"):
        read_image(saved(Image.fromarray(PIXELS.swapaxes(0, 1).copy())), COLOR)
    with pytest.raises(Refusal, match=r"x\.png has 16 bits a channel, .*; `lifeq-jax data prepare .*` makes a copy"):
        read_image(saved(Image.fromarray(PIXELS[..., 0].astype(np.uint16))), COLOR)
    with pytest.raises(Refusal, match=r"none\.png is not a readable image \(No such file or directory\)"):
        read_image(saved(Image.fromarray(PIXELS)).with_name("none.png"), COLOR)


def test_files_of_any_size_and_inks_are_read_with_resize(saved):
    path = saved(Image.fromarray(PIXELS).convert("CMYK"), "x.jpg")
    np.testing.assert_array_equal(read_image(path, ANY_SIZE), np.asarray(Image.open(path).convert("RGB")))
    assert read_image(path, ANY_SIZE._replace(stored=(9, 9, 1))).shape == (4, 6, 1)
    with pytest.raises(Refusal, match=r"x\.jpg has pixels of kind CMYK; choose from 1, L"):
        read_image(path, COLOR)


@pytest.mark.parametrize("name", odd_files.SAME | odd_files.FRAMES)
@pytest.mark.parametrize("read", [stored_image, any_image])
def test_what_training_reads_is_read_alike_by_a_copy(name, read):
    content, pixels = (odd_files.SAME | odd_files.FRAMES)[name]
    image, kinds = read(content)
    assert kinds == (("of several frames",) if name in odd_files.FRAMES else ())
    np.testing.assert_array_equal(pixels_of(image), pixels_of(check_stored(content, inks=False)[0])[..., :3])
    if pixels is not None:
        np.testing.assert_array_equal(pixels_of(image), pixels)


@pytest.mark.parametrize("name", odd_files.REFUSED)
def test_what_training_would_misread_it_refuses_and_a_copy_reads(name):
    told, content, pixels = odd_files.REFUSED[name]
    with pytest.raises(Refusal, match=f"^{told}"):
        check_stored(content, inks=True)
    image, kinds = any_image(content)
    found = {"turned": "turned by their EXIF tag", "16": "of 16 bits", "frames": "of several frames"}
    assert kinds == tuple(kind for word, kind in found.items() if word in name)
    assert image.mode in ("L", "RGB") and image.size == ((8, 10) if "turned" in name else (10, 8))
    if pixels is not None:
        np.testing.assert_array_equal(pixels_of(image), np.broadcast_to(pixels, pixels_of(image).shape))


@pytest.mark.parametrize("name", odd_files.DAMAGED)
@pytest.mark.parametrize("read", [stored_image, any_image])
def test_refuses_a_damaged_file(name, read):
    with pytest.raises(Refusal, match=r"^is not a readable image") as caught:
        read(odd_files.DAMAGED[name])
    assert "\n" not in str(caught.value)


def test_refuses_numbers_without_a_range():
    with pytest.raises(Refusal, match=r"^has pixels of 32 bits \(F\), whose range is not known"):
        any_image(odd_files.FLOAT["float.tif"])

import numpy as np
import pytest
from PIL import Image

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import decode, open_image, read_image
from lifeq_jax.data.order import ImageSpec

COLOR = ImageSpec((4, 6, 3), 0, (4, 6), (0.5,) * 3, (0.5,) * 3, False)
GRAY = COLOR._replace(stored=(4, 6, 1), mean=(0.5,), std=(0.5,))
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)


@pytest.fixture
def saved(tmp_path):
    """saved(image) -> its path as PNG."""

    def save(image, name="x.png"):
        image.save(tmp_path / name)
        return tmp_path / name

    return save


def test_color_and_gray_by_hand(saved):
    path = saved(Image.fromarray(PIXELS))
    np.testing.assert_array_equal(read_image(path, COLOR), PIXELS)
    gray = (PIXELS.astype(np.int64) @ [19595, 38470, 7471] + 2**15) >> 16
    np.testing.assert_array_equal(read_image(path, GRAY)[..., 0], gray)
    path = saved(Image.fromarray(PIXELS[..., 0]))
    np.testing.assert_array_equal(read_image(path, COLOR), np.repeat(PIXELS[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(read_image(path, GRAY), PIXELS[..., :1])


@pytest.mark.parametrize(("mode", "kind"), [("1", "L"), ("LA", "L"), ("P", "RGB"), ("RGBA", "RGB")])
def test_other_8_bit_modes_become_gray_or_color(saved, mode, kind):
    image = Image.fromarray(PIXELS).convert(mode)
    opened = open_image(saved(image))
    assert opened.mode == kind
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(image.convert(kind)))


def test_decodes_in_the_given_order(saved, tmp_path):
    saved(Image.fromarray(PIXELS), "a.png")
    saved(Image.fromarray(255 - PIXELS), "b.png")
    images = decode(tmp_path, ["b.png", "a.png", "b.png"], COLOR)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.stack([255 - PIXELS, PIXELS, 255 - PIXELS]))


def test_refuses_other_sizes_pixels_and_formats(saved):
    with pytest.raises(Refusal, match=r"x\.png is 6x4 pixels, not 4x6$"):
        read_image(saved(Image.fromarray(PIXELS.swapaxes(0, 1).copy())), COLOR)
    with pytest.raises(Refusal, match=r"x\.png has pixels of kind I;16; choose from "):
        open_image(saved(Image.fromarray(PIXELS[..., 0].astype(np.uint16))))
    with pytest.raises(Refusal, match=r"x\.jpg has pixels of kind CMYK"):
        open_image(saved(Image.fromarray(PIXELS).convert("CMYK"), "x.jpg"))
    with pytest.raises(Refusal, match=r"x\.bmp is not a readable image"):
        open_image(saved(Image.fromarray(PIXELS), "x.bmp"))


def test_files_of_any_size_and_inks_are_read_with_resize(saved):
    image = Image.fromarray(PIXELS).convert("CMYK")
    path = saved(image, "x.jpg")
    anysize = COLOR._replace(stored=(9, 9, 3), resize="random_resized_crop")
    np.testing.assert_array_equal(read_image(path, anysize), np.asarray(Image.open(path).convert("RGB")))
    assert read_image(path, anysize._replace(stored=(9, 9, 1))).shape == (4, 6, 1)
    with pytest.raises(Refusal, match=r"x\.jpg has pixels of kind CMYK"):
        read_image(path, COLOR)


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("left", [0, 10, 0.6])
def test_refuses_a_broken_file(saved, kind, left):
    path = saved(Image.fromarray(PIXELS), f"x.{kind}")
    data = path.read_bytes()
    path.write_bytes(data[: left if left > 1 else int(left * len(data))])
    with pytest.raises(Refusal, match=rf"x\.{kind} is not a readable image") as caught:
        open_image(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(Refusal, match=r"none\.png is not a readable image"):
        open_image(path.with_name("none.png"))

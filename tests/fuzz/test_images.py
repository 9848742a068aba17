"""Images of all modes and formats that Pillow writes, whole and damaged: one answer of inputs, check and copy."""

import io
import zlib

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.data.decode import any_image, check_stored, stored_image
from lifeq_jax.data.sources import _copied
from lifeq_jax.data.tf_decode import decoded
from tests.fuzz.targets import CHANGES, mutated, target, told

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B")
LOSSLESS = {"BMP", "DIB", "PNG", "PPM", "TIFF", "TGA", "SGI", "PCX", "IM"}


def picture(mode, height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    if mode in ("I", "F", "I;16", "I;16B"):
        kinds = {"I": np.int32, "F": np.float32, "I;16": "<u2", "I;16B": ">u2"}
        return Image.fromarray((pixels[..., 0].astype(np.int64) * 256 + 99).astype(kinds[mode]))
    image = Image.fromarray(pixels)
    if mode in ("PA", "LAB"):
        channels = [Image.fromarray(pixels[..., channel]) for channel in range(3)]
        return image.convert("P").convert("PA") if mode == "PA" else Image.merge("LAB", channels)
    return image.convert(mode)


def content_of(mode, kind, height, width, seed, orientation, frames):
    image = picture(mode, height, width, seed)
    how = {"exif": Image.Exif()}
    how["exif"][274] = orientation
    if orientation == 1:
        del how["exif"]
    if frames > 1 and kind in {*Image.SAVE_ALL} - {"AVIF"}:  # whose writer may crash the process
        how |= {"save_all": True, "append_images": [picture(mode, height, width, seed + 1)]}
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def written(mode, kind):
    try:
        return content_of(mode, kind, 4, 4, 0, 1, 1)
    except Exception:
        return None


Image.init()
PAIRS = [(mode, kind) for kind in sorted({*Image.SAVE} & {*Image.OPEN}) for mode in MODES if written(mode, kind)]
STORED = [pair for pair in PAIRS if pair[1] in ("PNG", "JPEG")]


def files(pairs):
    sides = st.integers(1, 20)
    numbers = (sides, sides, st.integers(0, 99), st.integers(0, 9), st.integers(1, 2))
    return st.tuples(st.sampled_from(pairs), st.tuples(*numbers)).map(lambda made: (*made[0], *made[1]))


def answer(call, *args, **how):
    try:
        return call(*args, **how), None
    except Refusal as refusal:
        assert told(refusal).startswith(("is ", "has "))
        return None, str(refusal)


@target(file=files(PAIRS), changes=st.one_of(st.just([]), CHANGES))
def test_any_image(file, changes):
    """A copy has upright 8-bit pixels, those of the original where the format keeps them, and training reads it."""
    mode, kind, height, width, seed, orientation, _ = file
    content = content_of(*file)
    found, _ = answer(any_image, mutated(content, changes))
    if found is not None:
        image, _ = found
        assert image.mode in ("L", "RGB") and np.asarray(image).dtype == np.uint8
        copied = io.BytesIO()
        image.save(copied, "PNG")
        np.testing.assert_array_equal(np.asarray(stored_image(copied.getvalue())[0]), np.asarray(image))
    if not changes and kind in LOSSLESS and mode in ("1", "L", "RGB"):
        plain = picture(mode, height, width, seed).convert("L" if mode == "1" else mode)
        if 274 in Image.open(io.BytesIO(content)).getexif():
            exif = Image.Exif()
            exif[274] = orientation
            plain.info["exif"] = exif.tobytes()
            plain = ImageOps.exif_transpose(plain)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.asarray(plain.convert("RGB")))


def damaged_inside(content, changes):
    """A PNG whose packed pixels are changed and have the right checksum."""
    start = content.index(b"IDAT") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    body = b"IDAT" + mutated(content[start + 8 : end - 4], changes)
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:start] + chunk + content[end:]


@target(file=files(STORED), changes=st.one_of(st.just([]), CHANGES), inks=st.booleans(), inside=st.booleans())
def test_both_inputs(file, changes, inks, inside):
    """Pillow and TensorFlow read the same pixels of a file that the check lets pass, or both refuse it."""
    change = damaged_inside if inside and file[1] == "PNG" else mutated
    content = change(content_of(*file), changes)
    checked, refused = answer(check_stored, content, inks=inks)
    stored, _ = answer(stored_image, content, inks=inks)
    if checked is None:
        assert stored is None and refused
        return
    try:
        pixels = decoded(tf, tf.constant(content)).numpy()
    except tf.errors.OpError:
        pixels = None
    assert (pixels is None) == (stored is None)
    if stored is not None:
        expected = np.asarray(stored[0].convert("RGB")).astype(int)
        np.testing.assert_allclose(pixels, expected, atol=1 if checked[0].mode == "CMYK" else 0)


@target(file=files(PAIRS), changes=CHANGES, ending=st.sampled_from([".png", ".jpg", ".bmp", ".jfif"]))
def test_copies(file, changes, ending):
    """What a copy leaves as it is, training reads; what it changes it says."""
    content = mutated(content_of(*file), changes)
    made, _ = answer(_copied, f"a/x{ending}", content, {f"a/x{ending}"})
    if made is not None and made.content is not None:
        assert made.content == content and check_stored(content, inks=False)[1] == ()
    elif made is not None:
        assert made.kinds and made.name.endswith((".png", ".jpg"))

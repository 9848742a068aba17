"""Decodes files to uint8 tensors, bit-equal to Pillow; the argument `tf` is the module TensorFlow."""

from typing import Any

# Pillow's convert("L") rounds (19595 R + 38470 G + 7471 B) / 65536.
GRAY = (19595, 38470, 7471)
MARGIN = 2  # pixels around a cut that the interpolation of subsampled color reads


def decoded(tf: Any, content: Any) -> Any:
    """The color image (h, w, 3) of a JPEG or PNG that `decode.check_stored` accepts.

    JPEG uses the integer inverse DCT. CMYK is within 1 of Pillow's color if the file has Adobe's marker."""
    return tf.cond(
        tf.io.is_jpeg(content),
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(content, channels=3),
    )


def decoded_box(tf: Any, content: Any, choose: Any) -> Any:
    """The pixels of a box of the color image, equal to a crop of `decoded`; a JPEG is decoded only around the box.

    `choose`: (height, width) int32 of the image -> box (y, x, height, width) int32."""

    def of_jpeg() -> Any:
        sides = tf.io.extract_jpeg_shape(content)[:2]
        corner, size = tf.split(choose(sides), 2)
        start = tf.maximum(corner - MARGIN, 0)
        around = tf.concat([start, tf.minimum(corner + size + MARGIN, sides) - start], 0)
        image = tf.io.decode_and_crop_jpeg(content, around, channels=3, dct_method="INTEGER_ACCURATE")
        return _cut(tf, image, corner - start, size)

    def of_png() -> Any:
        image = tf.io.decode_png(content, channels=3)
        return _cut(tf, image, *tf.split(choose(tf.shape(image)[:2]), 2))

    return tf.cond(tf.io.is_jpeg(content), of_jpeg, of_png)


def with_channels(tf: Any, image: Any, channels: int) -> Any:
    """The color image (h, w, 3) itself for 3 channels, its gray (h, w, 1) by Pillow's formula for 1."""
    if channels == 3:
        return image
    red, green, blue = (weight * tf.cast(image[..., i], tf.int32) for i, weight in enumerate(GRAY))
    return tf.cast(tf.bitwise.right_shift(red + green + blue + 2**15, 16), tf.uint8)[..., None]


def _cut(tf: Any, image: Any, corner: Any, size: Any) -> Any:
    return tf.slice(image, tf.concat([corner, [0]], 0), tf.concat([size, [3]], 0))

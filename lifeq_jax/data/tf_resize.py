"""Resizes images of any size by random-resized-crop or center crop; the argument `tf` is the module TensorFlow.

Boxes and sizes are torchvision's (RandomResizedCrop; Resize, then CenterCrop). Pixels are bilinear with
antialiasing and rounded to uint8: within 1 of Pillow's."""

from typing import Any

from lifeq_jax.data.order import RATIO, ImageSpec
from lifeq_jax.data.tf_decode import decoded, decoded_box, with_channels


def random_box(tf: Any, sides: Any, draw: Any) -> Any:
    """The box (y, x, height, width) int32 in an image of `sides` (height, width) int32, from `draw` of
    `order.box_draws`.

    The first try that fits; if none does, the largest centered box with a ratio in RATIO. Uses only operations that
    round alike on every machine."""
    exact = tf.cast(sides, tf.float64)
    size = tf.cast(tf.round(tf.cast(draw[:-1], tf.float64) * tf.sqrt(tf.reduce_prod(exact))), tf.int32)
    fits = tf.reduce_all((size > 0) & (size <= sides), axis=1)
    widest = tf.minimum(sides, tf.cast(tf.round(exact[::-1] * RATIO[1]), tf.int32))
    found = tf.reduce_any(fits)
    chosen = tf.where(found, size[tf.argmax(tf.cast(fits, tf.int32))], widest)
    free = sides - chosen
    place = tf.cast(tf.floor(tf.cast(draw[-1], tf.float64) * tf.cast(free + 1, tf.float64)), tf.int32)
    return tf.concat([tf.where(found, place, free // 2), chosen], 0)


def random_resized_crop(tf: Any, content: Any, draw: Any, spec: ImageSpec) -> Any:
    """A file's random box, resized to uint8 (*spec.crop, c)."""
    box = decoded_box(tf, content, lambda sides: random_box(tf, sides, draw))
    box = with_channels(tf, box, spec.stored[2])
    return _rounded(tf, tf.image.resize(box, spec.crop, "bilinear", antialias=True))


def centered_crop(tf: Any, content: Any, spec: ImageSpec) -> Any:
    """A file's short side resized to `spec.stored[0]`, the long side in proportion and rounded down; the middle
    of it as uint8 (*spec.crop, c)."""
    image = with_channels(tf, decoded(tf, content), spec.stored[2])
    sides = tf.shape(image)[:2]
    resized = spec.stored[0] * sides // tf.reduce_min(sides)
    corner = tf.round((resized - spec.crop) / 2)
    # One operation resizes and crops: a whole resized image of extreme proportions would not fit in memory.
    cut = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=spec.crop,
        scale=tf.cast(resized / sides, tf.float32),
        translation=-tf.cast(corner, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )
    return _rounded(tf, cut[0])


def _rounded(tf: Any, image: Any) -> Any:
    return tf.cast(tf.round(image), tf.uint8)

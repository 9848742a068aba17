"""tf.data over the files: a data set of any size, decoded and cropped on the host while the device works."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import Batch
from lifeq_jax.data.augment import normalize
from lifeq_jax.data.decode import decode, first_line
from lifeq_jax.data.inputs import Feed, Input, batch_of, feed_of
from lifeq_jax.data.order import ImageSpec, Plan
from lifeq_jax.data.tables import Catalog, Rows

# Pillow's convert("L") rounds (19595 R + 38470 G + 7471 B) / 65536.
GRAY = (19595, 38470, 7471)
PNG_BITS = 24  # the byte of a PNG that holds its bits per channel


def pipeline(root: Path, known: Catalog, spec: ImageSpec, prefetch: int = 4) -> Input:
    """Reads, decodes, crops and mirrors with tf.data, `prefetch` batches ahead; decodes the same bits as
    Pillow.

    Refuses, at the step that needs it, a file that is unreadable or not of the size `spec.stored`."""
    load = _loader(str(root), spec)
    return Input((), partial(_feeds, root, known, spec, load, prefetch), partial(_assemble, spec=spec))


def tensorflow() -> Any:
    """TensorFlow, imported when first needed and kept off the accelerators that JAX uses."""
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


def _feeds(
    root: Path,
    known: Catalog,
    spec: ImageSpec,
    load: Callable,
    prefetch: int,
    rows: Rows,
    plan: Plan,
    start_step: int,
) -> Iterator[Feed]:
    tf = tensorflow()
    paths = np.array(known.paths)[rows.index[plan.row[start_step:]]]
    arrays = (paths, plan.offset[start_step:], plan.flip[start_step:])
    flat = tuple(array.reshape(-1, *array.shape[2:]) for array in arrays)
    images = tf.data.Dataset.from_tensor_slices(flat)
    images = images.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = images.batch(plan.row.shape[1]).prefetch(prefetch).as_numpy_iterator()
    for step in range(start_step, len(plan.row)):
        try:
            image = next(batches)
        except tf.errors.OpError as error:
            decode(root, paths[step - start_step].tolist(), spec)
            raise Refusal(f"step {step}: images under {root} cannot be read ({first_line(error)})") from None
        yield feed_of(image, rows, plan, step)


def _assemble(constants: tuple, feed: Feed, *, spec: ImageSpec) -> Batch:
    return batch_of(normalize(feed.image, spec), feed)


def _loader(root: str, spec: ImageSpec) -> Callable:
    """A traced function (path, offset, flip) -> uint8 (h, w, c), cropped and mirrored."""
    tf = tensorflow()

    def load(path: Any, offset: Any, flip: Any) -> Any:
        image = _decoded(tf, tf.io.read_file(tf.strings.join([root, path], "/")), spec)
        image = tf.pad(image, ((spec.pad, spec.pad), (spec.pad, spec.pad), (0, 0)))
        image = tf.slice(image, tf.concat([offset, [0]], 0), (*spec.crop, spec.stored[2]))
        return tf.where(flip, image[:, ::-1], image)

    signature = (tf.TensorSpec((), tf.string), tf.TensorSpec((2,), tf.int32), tf.TensorSpec((), tf.bool))
    return tf.function(load, input_signature=signature)


def _decoded(tf: Any, content: Any, spec: ImageSpec) -> Any:
    """The bits of `decode.read_image`: the integer inverse DCT for JPEG, Pillow's own formula for gray."""
    image = tf.cond(tf.io.is_jpeg(content), lambda: _jpeg(tf, content), lambda: _png(tf, content))
    tf.debugging.assert_equal(tf.shape(image), (*spec.stored[:2], 3))
    image = tf.ensure_shape(image, (*spec.stored[:2], 3))
    if spec.stored[2] == 3:
        return image
    red, green, blue = (weight * tf.cast(image[..., i], tf.int32) for i, weight in enumerate(GRAY))
    return tf.cast(tf.bitwise.right_shift(red + green + blue + 2**15, 16), tf.uint8)[..., None]


def _jpeg(tf: Any, content: Any) -> Any:
    tf.debugging.assert_less(tf.io.extract_jpeg_shape(content)[2], 4)
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _png(tf: Any, content: Any) -> Any:
    tf.debugging.assert_none_equal(tf.strings.substr(content, PNG_BITS, 1), b"\x10")
    return tf.io.decode_png(content, channels=3)

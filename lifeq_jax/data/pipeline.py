"""tf.data over the files: a data set of any size, decoded and cropped on the host while the device works."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import Batch
from lifeq_jax.data.augment import normalize
from lifeq_jax.data.decode import check_stored, first_line, read_under
from lifeq_jax.data.inputs import Feed, Input, batch_of, feed_of
from lifeq_jax.data.order import ImageSpec, Plan
from lifeq_jax.data.tables import BrokenImage, Catalog, Rows
from lifeq_jax.data.tf_decode import decoded, with_channels
from lifeq_jax.data.tf_resize import centered_crop, random_resized_crop


def pipeline(root: Path, known: Catalog, spec: ImageSpec, prefetch: int = 4) -> Input:
    """Reads, decodes, crops and mirrors with tf.data, `prefetch` batches ahead; decodes the same bits as
    Pillow. With `spec.resize` the files may have any size and CMYK.

    Refuses, at the first step that needs the file, what `check_stored` refuses and, without `spec.resize`, a file of
    another size than `spec.stored`. A JPEG is decoded only around its random box."""
    files = _Files(root, np.array(known.paths), np.zeros(len(known.paths), np.bool_))
    return Input((), partial(_feeds, files, spec, _loader(str(root), spec), prefetch), partial(_assemble, spec=spec))


class _Files(NamedTuple):
    root: Path
    paths: np.ndarray  # (n,) str, of the catalog
    checked: np.ndarray  # (n,) bool, whether `check_stored` has seen the file; written to


def tensorflow() -> Any:
    """TensorFlow, imported when first needed and kept off the accelerators that JAX uses."""
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


def _feeds(
    files: _Files, spec: ImageSpec, load: Callable, prefetch: int, rows: Rows, plan: Plan, start_step: int
) -> Iterator[Feed]:
    tf = tensorflow()
    index = rows.index[plan.row[start_step:]]
    paths = files.paths[index]
    arrays = (paths, ~files.checked[index], plan.offset[start_step:], plan.draw[start_step:], plan.flip[start_step:])
    flat = tuple(array.reshape(paths.size, *array.shape[2:]) for array in arrays)
    images = tf.data.Dataset.from_tensor_slices(flat)
    images = images.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = images.batch(plan.row.shape[1]).prefetch(prefetch).as_numpy_iterator()
    for step in range(start_step, len(plan.row)):
        try:
            image = next(batches)
        except tf.errors.OpError as error:
            _refuse_first(files.root, paths[step - start_step].tolist(), spec)
            raise Refusal(f"step {step}: images under {files.root} cannot be read ({first_line(error)})") from None
        files.checked[index[step - start_step]] = True
        yield feed_of(image, rows, plan, step)


def _assemble(constants: tuple, feed: Feed, *, spec: ImageSpec) -> Batch:
    return batch_of(normalize(feed.image, spec, feed.task), feed)


def _refuse_first(root: Path, paths: list[str], spec: ImageSpec) -> None:
    """Refuses the first file that Pillow, or else TensorFlow, cannot read."""
    tf = tensorflow()
    for path in paths:
        read_under(root, path, spec)
    for path in paths:
        try:
            decoded(tf, tf.io.read_file(f"{root}/{path}"))
        except tf.errors.OpError as error:
            message = f"{Path(root) / path} is not readable by TensorFlow ({first_line(error)})"
            raise BrokenImage(message, path, root) from None


def _loader(root: str, spec: ImageSpec) -> Callable:
    """A traced function (path, is it new, offset, draw, flip) -> uint8 (h, w, c), cropped and mirrored."""
    tf = tensorflow()

    def check(content: bytes) -> np.bool_:
        check_stored(content, inks=bool(spec.resize))
        return np.True_

    def cropped(content: Any, offset: Any, draw: Any) -> Any:
        if not spec.resize:
            return _cropped(tf, content, offset, spec)
        return random_resized_crop(tf, content, draw, spec) if draw.shape[0] else centered_crop(tf, content, spec)

    def load(path: Any, is_new: Any, offset: Any, draw: Any, flip: Any) -> Any:
        content = tf.io.read_file(tf.strings.join([root, path], "/"))
        checked = tf.cond(is_new, lambda: tf.numpy_function(check, [content], tf.bool), lambda: True)
        with tf.control_dependencies([checked]):
            image = cropped(content, offset, draw)
        image = tf.ensure_shape(image, (*spec.crop, spec.stored[2]))
        return tf.where(flip, image[:, ::-1], image)

    return tf.function(load)


def _cropped(tf: Any, content: Any, offset: Any, spec: ImageSpec) -> Any:
    """The crop at `offset` of the padded image, which must have the size `spec.stored`."""
    image = decoded(tf, content)
    tf.debugging.assert_equal(tf.shape(image), (*spec.stored[:2], 3))
    image = with_channels(tf, tf.ensure_shape(image, (*spec.stored[:2], 3)), spec.stored[2])
    image = tf.pad(image, ((spec.pad, spec.pad), (spec.pad, spec.pad), (0, 0)))
    return tf.slice(image, tf.concat([offset, [0]], 0), (*spec.crop, spec.stored[2]))

"""Crop, mirror and normalization inside the compiled step; both input paths share `normalize`."""

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.data.order import ImageSpec


def normalize(image: jax.Array, spec: ImageSpec, task: jax.Array | None = None) -> jax.Array:
    """(x/255 - mean)/std per channel: uint8 (B, h, w, c) to float32 of the same shape.

    If `spec` has a mean and a std for each channel of each task, those of task (B,) are used.

    Computed as (x - 255 mean) * (1/(255 std)): a difference followed by a product cannot become a fused multiply-add,
    so the bits are those of NumPy's float32 arithmetic, inside a compiled step too."""
    shape = (-1, 1, 1, image.shape[-1])
    middle = jnp.asarray((255 * np.array(spec.mean, np.float64)).astype(np.float32).reshape(shape))
    scale = jnp.asarray((1 / (255 * np.array(spec.std, np.float64))).astype(np.float32).reshape(shape))
    if task is not None and len(middle) > 1:
        middle, scale = middle[task], scale[task]
    return (image.astype(jnp.float32) - middle) * scale


def permuted(image: jax.Array, pixels: jax.Array) -> jax.Array:
    """Image (B, h, w, c) whose pixel i, row after row, is pixel pixels[b, i] of `image`; pixels (B, h * w) int32."""
    flat = image.reshape(*pixels.shape, image.shape[-1])
    return jnp.take_along_axis(flat, pixels[..., None], axis=1).reshape(image.shape)


def crop_and_flip(image: jax.Array, offset: jax.Array, flip: jax.Array, spec: ImageSpec) -> jax.Array:
    """Pads with black, cuts `spec.crop` at each image's corner and mirrors where asked, all in uint8.

    image (B, H, W, C), offset (B, 2) int32, flip (B,) bool; returns (B, h, w, C)."""
    around = (spec.pad, spec.pad)
    padded = jnp.pad(image, ((0, 0), around, around, (0, 0)))

    def cut(one: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(one, (corner[0], corner[1], 0), (*spec.crop, one.shape[-1]))

    cropped = jax.vmap(cut)(padded, offset)
    return jnp.where(flip[:, None, None, None], cropped[:, :, ::-1], cropped)

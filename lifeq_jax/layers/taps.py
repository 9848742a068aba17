"""Squared per-example gradients, summed over a batch, from the input and the output gradient of each layer.

The gradient of a layer's parameters for one example is a product of the two, so one forward and one backward pass over
the whole batch give it for every example, without a separate gradient of the network for each."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.errors import ScopeCollectionNotFound, ScopeParamNotFoundError
from flax.traverse_util import flatten_dict, unflatten_dict

from lifeq_jax.core.tree import in_chunks, map_named
from lifeq_jax.core.types import PyTree
from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantConv, QuantDense

T = TypeVar("T")
Apply = Callable[[PyTree, jax.Array], T]  # (params, image (B, H, W, C)) -> arrays (B, ...), in evaluation mode

WORKING_SET = {"cpu": 2**19}  # values that the products of one part of a batch read and write: 2 MB fit the cache
LARGE_WORKING_SET = 2**26  # on other backends: 256 MB, so that few and large products keep them busy


class Window(NamedTuple):
    """Geometry of a convolution made by `layers.quant.conv`."""

    size: tuple[int, int]
    stride: int
    padding: int  # on every side
    groups: int


class Tap(NamedTuple):
    """A layer that is called once, so that its parameters act once on each example."""

    output: tuple[int, ...]  # shape, of one example
    leaves: tuple[str, ...]  # its parameters
    window: Window | None  # None: not a convolution


def squared_gradients(
    apply: Apply[T], params: PyTree, image: jax.Array, values: Callable[[T], jax.Array], weight: jax.Array
) -> PyTree | None:
    """sum_b weight_b (d value_b / d p)^2 over the examples b of a batch, a tree like `params`, exact; or None.

    `values` turns the outputs of `apply` into one value an example, (B,), each a function of its own example's outputs;
    weight (B,) is not below 0. Every example runs as a batch of its own, whatever quantizers do with a batch.

    Returns None if the gradient of some layer is not input x output gradient: (1) a weight passes through a quantizer
    below 32 bits, (2) a layer is called twice, or (3) the network reads a parameter outside of QuantConv, QuantDense
    and BatchNorm, such as the learned scale of an activation quantizer. The caller then falls back to one `jax.grad`
    per example. A leaf that the network does not read gets 0.

    Memory beyond that of an ordinary gradient: inputs and output gradients of all layers, and one working set (2 MB on
    CPU, 256 MB elsewhere, or one example's patches and gradient of one layer, if these are larger)."""
    taps = _taps(apply, params, image[:1])
    if taps is None:
        return None

    def alone(image: jax.Array, offsets: dict[str, jax.Array]) -> tuple[T, dict[str, jax.Array]]:
        factors = {}

        def record(next_method: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
            result, layer = next_method(*args, **kwargs), context.module
            if not _is_tapped(context):
                return result
            name = "/".join(layer.path)
            factors[name] = _factor(layer, args[0])[0]
            return result + offsets[name][None]

        with nn.intercept_methods(record):
            outputs = apply(params, image[None])
        return jax.tree.map(lambda part: part[0], outputs), factors

    def forward(offsets: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        outputs, factors = jax.vmap(alone)(image, offsets)
        return values(outputs), factors

    offsets = {name: jnp.zeros((len(image), *tap.output)) for name, tap in taps.items()}
    _, pull, factors = jax.vjp(forward, offsets, has_aux=True)
    (gradients,) = pull(jnp.sqrt(weight))
    found = {
        f"{name}/{leaf}": squares
        for name, tap in taps.items()
        for leaf, squares in _squares(tap, factors[name], gradients[name]).items()
    }
    return map_named(lambda name, leaf: found.get(name, jnp.zeros_like(leaf)), params)


def _is_tapped(context: Any) -> bool:
    return context.method_name == "__call__" and bool(_leaves(context.module))


def _leaves(layer: Any) -> tuple[str, ...]:
    if isinstance(layer, BatchNorm):
        return ("scale", "bias") if layer.affine else ()
    if isinstance(layer, QuantConv | QuantDense):
        return ("kernel", "bias") if layer.use_bias else ("kernel",)
    return ()


def _factor(layer: Any, x: jax.Array) -> jax.Array:
    """What the layer's kernel or scale multiplies."""
    if not isinstance(layer, BatchNorm):
        return x
    running, leading = layer.variables["batch_stats"], range(x.ndim - 1)
    factor = jax.lax.rsqrt(running["var"] + layer.epsilon)
    return (x - jnp.expand_dims(running["mean"], leading)) * jnp.expand_dims(factor, leading)


def _taps(apply: Apply, params: PyTree, image: jax.Array) -> dict[str, Tap] | None:
    """The layers with parameters by path; None if `squared_gradients` returns None. `image` is one example."""
    taps: dict[str, Tap] = {}
    unfit = []

    def record(next_method: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        result, layer = next_method(*args, **kwargs), context.module
        if _is_tapped(context):
            name = "/".join(layer.path)
            if name in taps or (not isinstance(layer, BatchNorm) and layer.weight.bits < 32):
                unfit.append(name)
            taps[name] = Tap(result.shape[1:], _leaves(layer), _window(layer) if isinstance(layer, QuantConv) else None)
        return result

    with nn.intercept_methods(record):
        jax.eval_shape(lambda *given: apply(*given), params, image)  # a new lambda, so that no cached trace is used
    covered = {f"{name}/{leaf}" for name, tap in taps.items() for leaf in tap.leaves}
    known = {name: leaf for name, leaf in flatten_dict(params, sep="/").items() if name in covered}
    try:
        jax.eval_shape(apply, unflatten_dict(known, sep="/"), image)
    except (ScopeParamNotFoundError, ScopeCollectionNotFound):
        return None
    return None if unfit else taps


def _window(layer: Any) -> Window:
    return Window(layer.kernel_size, layer.strides, layer.padding, layer.feature_group_count)


def _squares(tap: Tap, factor: jax.Array, gradient: jax.Array) -> dict[str, jax.Array]:
    """By parameter, the sum over examples of the squares; factor (B, ..., in), gradient of the output (B, ..., out)."""
    positions = tuple(range(1, gradient.ndim - 1))
    found = {}
    if "kernel" in tap.leaves:
        found["kernel"] = _kernel_squares(tap.window, factor, gradient)
    if "scale" in tap.leaves:
        found["scale"] = jnp.sum(jnp.square(jnp.sum(factor * gradient, axis=positions)), axis=0)
    if "bias" in tap.leaves:
        found["bias"] = jnp.sum(jnp.square(jnp.sum(gradient, axis=positions)), axis=0)
    return found


def _kernel_squares(window: Window | None, x: jax.Array, gradient: jax.Array) -> jax.Array:
    """Of x (B, F) and gradient (B, O): (F, O); of (B, H, W, C) and (B, _, _, O): (h, w, C / groups, O)."""
    if window is None:
        return jnp.square(x).T @ jnp.square(gradient)
    groups, features = window.groups, gradient.shape[-1]
    taps, places = window.size[0] * window.size[1], gradient[0, ..., 0].size
    inner, outer = x.shape[-1] // groups, features // groups

    def product(x: jax.Array, gradient: jax.Array, subscripts: str) -> jax.Array:
        patches = _patches(window, x, gradient.shape[1:3]).reshape(len(x), places, taps, groups, inner)
        return jnp.einsum(subscripts, patches, gradient.reshape(len(x), places, groups, outer))

    def add(so_far: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return so_far + jnp.sum(jnp.square(product(*part, "bptgi,bpgo->bgtio")), axis=0), None

    if places == 1:
        total = product(jnp.square(x), jnp.square(gradient), "bptgi,bpgo->gtio")
    else:
        working_set = WORKING_SET.get(jax.default_backend(), LARGE_WORKING_SET)
        most = working_set // (places * (taps * x.shape[-1] + features) + taps * inner * features)
        total, _ = jax.lax.scan(add, jnp.zeros((groups, taps, inner, outer)), in_chunks((x, gradient), most))
    return total.transpose(1, 2, 0, 3).reshape(*window.size, inner, features)


def _patches(window: Window, x: jax.Array, places: tuple[int, ...]) -> jax.Array:
    """The input value under every tap of the kernel at every place of the output: (B, rows, columns, taps, C)."""
    x = jnp.pad(x, ((0, 0), *((window.padding, window.padding),) * 2, (0, 0)))
    ends = [(number - 1) * window.stride + 1 for number in places]
    return jnp.stack(
        [
            x[:, row : row + ends[0] : window.stride, column : column + ends[1] : window.stride]
            for row in range(window.size[0])
            for column in range(window.size[1])
        ],
        axis=3,
    )

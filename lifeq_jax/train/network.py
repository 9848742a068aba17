"""A Flax network as the pure functions that training needs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.layers.quant import observe_ranges, quantizer_table
from lifeq_jax.layers.taps import squared_gradients
from lifeq_jax.methods.base import Outputs
from lifeq_jax.methods.head import HEAD
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.quant import codes


class Network(NamedTuple):
    """The pure functions of a network at one pair of bit-widths."""

    init: Callable[[int], tuple[PyTree, PyTree]]  # seed -> (params, batch_stats)
    train: Callable[[PyTree, PyTree, jax.Array, jax.Array, jax.Array, bool], tuple[Outputs, PyTree]]
    """(params, batch_stats, image (B, H, W, C), share (B,), key, fixed_norm) -> (outputs, new batch_stats); share:
    fraction of the batch that has each example's class; fixed_norm: batch norm uses the running statistics and does not
    update them"""
    moments: Callable[[PyTree, jax.Array], PyTree]
    """(params, image) -> the batch's own statistics, a tree like batch_stats"""
    observe_ranges: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]]
    """(params, batch_stats, ranges so far, image) -> (ranges, params with the learned state that they give)"""
    evaluate: Callable[[PyTree, jax.Array, PyTree], Outputs]  # (params, image, batch_stats)
    evaluate_weights: Callable[[PyTree, jax.Array, PyTree], Outputs]  # (quantized weights, image, batch_stats)
    squares: Callable[..., PyTree | None]  # methods.base.Squares of params, with a last argument batch_stats
    squares_weights: Callable[..., PyTree | None]  # the same, of quantized weights
    head: Callable[[PyTree, jax.Array], jax.Array]  # (params, feature (B, F)) -> logits (B, K)
    quantize: Callable[[PyTree], PyTree]  # params -> the weights the network computes with
    table: codes.KernelQuantizers  # the kernels that are quantized, by name
    quantized: PyTree  # bools like params: which leaves are such kernels


def network(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    plain: nn.Module | None = None,
    shared: nn.Module | None = None,
) -> Network:
    """The pure functions of a Flax module. `model` is traced once for its shapes; nothing is computed.

    Args:
        model: a module with the methods `features(image, train)` -> (B, F) and `head(feature)` -> logits (B, K), whose
            last layer is a `Classifier` named `classifier` and whose quantizers are its field `quantizers`
            (layers.setups); models/mlp.py is the smallest.
        image_shape: height, width and channels of the network's input.
        plain: the same module without weight quantizers; by default `model` itself, for a network without any.
        shared: the module that trains on one device's part of a batch; by default `model`.

    Returns:
        The functions, at the bit-widths of the module's quantizers.

    Raises:
        Refusal: names what `model` lacks.

    Example:
        >>> quantizers = lq.setup("convolutions", lq.quantizers.lsq, lq.quantizers.activation, 4, 8)
        >>> network = lq.network(lq.models.mlp(4, quantizers, hidden=8), image_shape=(8, 8, 1))
        >>> params, batch_stats = network.init(0)
        >>> params["stem"]["dense"]["kernel"].shape
        (64, 8)
    """
    check_network(model)
    plain, shared = plain or model, shared or model

    def init(seed: int) -> tuple[PyTree, PyTree]:
        variables = initialize(model, seed, image_shape)
        return variables["params"], variables["batch_stats"]

    def train(
        params: PyTree, batch_stats: PyTree, image: jax.Array, share: jax.Array, key: jax.Array, fixed_norm: bool
    ) -> tuple[Outputs, PyTree]:
        def outputs(module: Any, image: jax.Array) -> Outputs:
            feature = module.features(image, train=not fixed_norm)
            return Outputs(module.head(feature), feature)

        variables = {"params": params, "batch_stats": batch_stats}
        of_batch = shared.clone(quantizers=shared.quantizers.of_batch(share))
        streams = {"noise": key, "dropout": jax.random.fold_in(key, 1)}
        how: dict[str, Any] = dict(mutable=["batch_stats"], rngs=streams, method=outputs)
        result, new = of_batch.apply(variables, image, **how)
        return result, new["batch_stats"]

    def moments(params: PyTree, image: jax.Array) -> PyTree:
        _, new = model.apply({"params": params}, image, train=True, mutable=["batch_stats", "moments"])
        return new.get("moments", {})  # a network without batch norm has none

    def ranges(params: PyTree, batch_stats: PyTree, so_far: PyTree, image: jax.Array) -> tuple[PyTree, PyTree]:
        return observe_ranges(model, {"params": params, "batch_stats": batch_stats}, so_far, image)

    def head(params: PyTree, feature: jax.Array) -> Any:
        return model.apply({"params": params}, feature, method="head")

    table, shapes = quantizer_table(model, image_shape), variable_shapes(model, image_shape)
    if HEAD not in shapes["params"]:
        raise Refusal(
            f"{type(model).__name__} is no network: its last layer must be a Classifier named {HEAD!r}; {GUIDE}"
        )
    return Network(
        init=init,
        train=train,
        moments=moments,
        observe_ranges=ranges,
        evaluate=_evaluation(model),
        evaluate_weights=_evaluation(plain),
        squares=_squares(model),
        squares_weights=_squares(plain),
        head=head,
        quantize=lambda params: codes.quantize_kernels(table, params),
        table=table,
        quantized=codes.mask(table, shapes["params"]),
    )


GUIDE = "docs/architecture.md, 'Add a network', shows one"


def check_network(model: nn.Module) -> None:
    """Raises Refusal where a module lacks what `network` calls, naming it."""
    wanted = {
        "features": "features(image, train) -> (B, F)",
        "head": "head(feature) -> (B, K)",
        "__call__": "__call__(image, train) -> (B, K)",
    }
    lacks = [text for name, text in wanted.items() if not callable(getattr(type(model), name, None))]
    lacks += ["the field quantizers"] * (not hasattr(model, "quantizers"))
    if lacks:
        raise Refusal(f"{type(model).__name__} is no network: it lacks {', '.join(lacks)}; {GUIDE}")


def _evaluation(module: Any) -> Callable[[PyTree, jax.Array, PyTree], Outputs]:
    def outputs(params: PyTree, image: jax.Array, batch_stats: PyTree) -> Outputs:
        variables = {"params": params, "batch_stats": batch_stats}
        feature = module.apply(variables, image, train=False, method="features")
        return Outputs(module.apply(variables, feature, method="head"), feature)

    return outputs


def _squares(module: Any) -> Callable[..., PyTree | None]:
    def sums(
        params: PyTree,
        image: jax.Array,
        values: Callable[[Outputs], jax.Array],
        weight: jax.Array,
        batch_stats: PyTree,
    ) -> PyTree | None:
        def apply(params: PyTree, image: jax.Array) -> Outputs:
            return _evaluation(module)(params, image, batch_stats)

        return squared_gradients(apply, params, image, values, weight)

    return sums

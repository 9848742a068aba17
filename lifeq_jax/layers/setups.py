"""Where in a network the quantizers are, and with how many bits: one table row per setup of the literature."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from lifeq_jax.core.lookup import lookup
from lifeq_jax.quant.base import Quantizer

# The role of a layer decides its bits in a setup. sum and last_sum are the outputs of residual additions; last is the
# layer whose output the classifier sees.
ROLES = ("first", "inner", "depthwise", "last", "classifier", "sum", "last_sum")


class Setup(NamedTuple):
    """Position of the activation quantizers, and the roles whose bits differ from the recipe's (32: not quantized)."""

    position: str
    """input: before a layer; norm: between batch norm and activation function; output: after both."""
    weight: Mapping[str, int]
    activation: Mapping[str, int]


SETUPS: dict[str, Setup] = {
    # all but the image and the classifier: LifeQuant, ClimbQ
    "convolutions": Setup("norm", {"classifier": 32}, {"classifier": 32, "sum": 32, "last_sum": 32}),
    # first and last layer at 8 bits, the image not quantized: the LSQ paper, and the results of Overcoming Oscillations
    "LSQ_paper": Setup(
        "input", {"first": 8, "classifier": 8}, {"first": 32, "classifier": 8, "sum": 32, "last_sum": 32}
    ),
    "LSQ": Setup("output", {"first": 8, "classifier": 8}, {"last": 8, "last_sum": 8, "classifier": 32}),
    "all": Setup("output", {}, {}),
    "FP_logits": Setup("output", {}, {"classifier": 32}),
    "fc4": Setup("output", {"first": 8, "classifier": 4}, {}),
    "fc4_dw8": Setup("output", {"first": 8, "depthwise": 8, "classifier": 4}, {}),
}


class Quantizers(NamedTuple):
    """The quantizers of a network as functions of a layer's role (ROLES), and the type of its operands."""

    position: str
    weight: Callable[[str], Quantizer]
    activation: Callable[[str], Quantizer]
    precision: str = "float32"
    """Type of the operands of all products but the classifier's: float32 or bfloat16 (`layers.precision`)."""

    def of_batch(self, share: jax.Array) -> "Quantizers":
        """The quantizers for one training batch; share (B,): fraction of the batch that has each example's class."""

        def activation(role: str) -> Quantizer:
            quantizer = self.activation(role)
            return quantizer if quantizer.of_batch is None else quantizer.of_batch(share)

        return self._replace(activation=activation)


def quantizers(
    setup: str,
    weight: Callable[[int], Quantizer],
    activation: Callable[[int], Quantizer],
    weight_bits: int,
    act_bits: int,
    precision: str = "float32",
) -> Quantizers:
    """The quantizers of a network by its layers' roles, at one pair of bit-widths.

    Args:
        setup: row of SETUPS.
        weight: makes a weight quantizer from its bits; a row of `lq.quantizers`.
        activation: makes an activation quantizer from its bits.
        weight_bits: 1 to 8; 32: no weight is quantized, whatever its role.
        act_bits: 1 to 8; 32: no activation is quantized.
        precision: of the operands of products, float32 or bfloat16.

    Returns:
        The quantizers, an argument of the makers in `lq.models`.

    Raises:
        Refusal: the setup is unknown.

    Example:
        >>> quantizers = lq.setup("convolutions", lq.quantizers.proxq, lq.quantizers.activation, 4, 8)
        >>> quantizers.weight("inner").bits, quantizers.weight("classifier").bits
        (4, 32)
    """
    position, weights, activations = lookup(SETUPS, setup, "recipe.quant_setup")

    def of_role(make: Callable[[int], Quantizer], bits: int, special: Mapping[str, int]) -> Callable[[str], Quantizer]:
        return lambda role: make(32 if bits == 32 else special.get(role, bits))

    of_weight, of_activation = of_role(weight, weight_bits, weights), of_role(activation, act_bits, activations)
    return Quantizers(position, of_weight, of_activation, precision)

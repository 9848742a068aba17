"""Building blocks of networks: layers, with quantizers where the setup puts them."""

from collections.abc import Callable

import jax
from flax import linen as nn

from lifeq_jax.layers.initial import HE_NORMAL, TORCH_UNIFORM, Initializer
from lifeq_jax.layers.norm import BatchNorm
from lifeq_jax.layers.quant import QuantAct, conv, dense
from lifeq_jax.layers.setups import Quantizers


class ConvUnit(nn.Module):
    """Quantized convolution, batch norm (or a bias), activation function, and one activation quantizer.

    `role` is the layer's role (ROLES). quantize_act=False leaves the activation quantizer out in every setup."""

    features: int
    size: int
    quantizers: Quantizers
    role: str = "inner"
    stride: int = 1
    groups: int = 1
    function: Callable[[jax.Array], jax.Array] | None = None
    use_norm: bool = True  # False: a bias instead
    make_norm: Callable[..., BatchNorm] = BatchNorm  # MobileNetV3 has an epsilon and a momentum of its own
    quantize_act: bool = True
    axis_name: str | None = None
    padded: bool = True  # False: the convolution stays inside the image
    kernel_init: Initializer = HE_NORMAL

    def setup(self) -> None:
        """Names the parts conv, norm and act."""
        self.conv = conv(
            self.features,
            self.size,
            self.quantizers.weight(self.role),
            stride=self.stride,
            groups=self.groups,
            bias=not self.use_norm,
            padded=self.padded,
            kernel_init=self.kernel_init,
            precision=self.quantizers.precision,
        )
        if self.use_norm:
            self.norm = self.make_norm(axis_name=self.axis_name)
        self.act = QuantAct(self.quantizers.activation(self.role))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), features); smaller where it is not padded."""
        x = self.conv(self._at("input", x))
        x = self._at("norm", self.norm(x, train) if self.use_norm else x)
        return self._at("output", x if self.function is None else self.function(x))

    def pooled(self, x: jax.Array) -> jax.Array:
        """An average x of the unit's outputs, put on the grid of the unit's output quantizer if it has one."""
        return self._at("output", x)

    def _at(self, position: str, x: jax.Array) -> jax.Array:
        return self.act(x) if self.quantize_act and self.quantizers.position == position else x


class DenseUnit(nn.Module):
    """Quantized linear layer with a bias, ReLU, and one activation quantizer. `role` is the layer's role (ROLES)."""

    features: int
    quantizers: Quantizers
    role: str = "inner"
    kernel_init: Initializer = TORCH_UNIFORM

    def setup(self) -> None:
        """Names the parts dense and act."""
        weight, precision = self.quantizers.weight(self.role), self.quantizers.precision
        self.dense = dense(self.features, weight, kernel_init=self.kernel_init, precision=precision)
        self.act = QuantAct(self.quantizers.activation(self.role))

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, F) -> (B, features)."""
        x = self._at("norm", self.dense(self._at("input", x)))
        return self._at("output", nn.relu(x))

    def _at(self, position: str, x: jax.Array) -> jax.Array:
        return self.act(x) if self.quantizers.position == position else x


class Classifier(nn.Module):
    """The last, linear layer with its quantizers; its operands are float32 in any network."""

    num_classes: int
    quantizers: Quantizers
    kernel_init: Initializer = TORCH_UNIFORM

    def setup(self) -> None:
        """Names the parts dense and act."""
        self.dense = dense(self.num_classes, self.quantizers.weight("classifier"), kernel_init=self.kernel_init)
        self.act = QuantAct(self.quantizers.activation("classifier"))

    def __call__(self, feature: jax.Array) -> jax.Array:
        """(B, F) -> logits (B, num_classes)."""
        if self.quantizers.position == "input":
            return self.dense(self.act(feature))
        logits = self.dense(feature)
        return self.act(logits) if self.quantizers.position == "output" else logits

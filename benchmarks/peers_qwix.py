"""ResNet-20 in plain Flax, for 32x32 images, which qwix quantizes from outside."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
import qwix
from flax import linen as nn


class Unit(nn.Module):
    """Convolution, batch norm, activation function."""

    features: int
    size: int
    stride: int = 1
    function: Callable[[jax.Array], jax.Array] | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), features)."""
        shape = (self.size, self.size), (self.stride, self.stride)
        x = nn.Conv(self.features, *shape, self.size // 2, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=False)(x)
        return x if self.function is None else self.function(x)


class ResNet20(nn.Module):
    """`resnet20` of the package."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, 3) -> logits (B, 10)."""
        x = Unit(16, 3, 1, nn.relu)(x)
        for features in [*[16] * 3, *[32] * 3, *[64] * 3]:
            stride = 1 if features == x.shape[-1] else 2
            shortcut = x if stride == 1 else Unit(features, 1, stride)(x)
            x = Unit(features, 3)(Unit(features, 3, stride, nn.relu)(x))
            x = nn.relu(x + shortcut)
        return nn.Dense(10)(jnp.mean(x, axis=(1, 2)))


def trainer(bits: int, image: jax.Array, label: jax.Array) -> Callable[[int], None]:
    """SGD with momentum and weight decay on one batch: image (B, H, W, C), label (B,); all layers at `bits`."""
    kind = {4: jnp.int4, 8: jnp.int8}[bits]
    rule = qwix.QuantizationRule(module_path=".*", weight_qtype=kind, act_qtype=kind)
    network = qwix.quantize_model(ResNet20(), qwix.OdmlQatProvider([rule], strict=False))
    variables = network.init(jax.random.key(0), image)
    params, rest = variables["params"], {name: part for name, part in variables.items() if name != "params"}
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.01, momentum=0.9))

    @partial(jax.jit, donate_argnums=0)
    def step(state):
        params, rest, opt_state = state

        def mean_loss(params):
            logits, new = network.apply({"params": params, **rest}, image, mutable=list(rest))
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label)), new

        gradients, new = jax.grad(mean_loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), new, opt_state

    holder = [(params, rest, optimizer.init(params))]

    def run(steps: int) -> None:
        for _ in range(steps):
            holder[0] = step(holder[0])
        jax.block_until_ready(holder[0])

    return run

"""Activation-noise term of LifeQuant's MobileNet importance: an objective, used by `lifequant(noise_bits=...)`."""

import jax
import jax.numpy as jnp

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import Batch
from lifeq_jax.losses.base import Loss
from lifeq_jax.losses.classify import weighted_mean
from lifeq_jax.methods.base import Outputs
from lifeq_jax.methods.importance import ImportanceObjective, Probe, mean_over

DRAWS = 100  # noisy copies of every feature


def noise_loss(
    probe: Probe, logits: jax.Array, feature: jax.Array, weight: jax.Array, draws: jax.Array, step: float
) -> jax.Array:
    """Mean over draws of -log(mean over examples and classes of logp_noisy * logp), a scalar in nats.

    logits (B, K), feature (B, F), weight (B,), draws (D, B, F) uniform in [0, 1). The noise (2 draws - 1) step moves a
    feature by up to one quantization step `step` to either side; logp are log-softmax outputs of the head."""
    shifted = feature[None] + (2.0 * draws - 1.0) * step
    noisy = probe.head(probe.point, shifted.reshape(-1, feature.shape[-1])).reshape(-1, *logits.shape)
    product = jnp.mean(jax.nn.log_softmax(noisy) * jax.nn.log_softmax(logits)[None], axis=-1)
    agreement = jax.vmap(weighted_mean, in_axes=(0, None))(product, weight)
    return -jnp.mean(jnp.log(jnp.where(agreement > 0, agreement, 1.0)))


def noisy_loss(loss: Loss, bits: int, act_range: float) -> ImportanceObjective:
    """noise_loss / number of batches + the mean of `loss`, for activations of `bits` bits over `act_range`.

    Source: LifeQuant mobilenet-v2-cifar-100 `ours`."""
    step = act_range / (2**bits - 1)

    def objective(probe: Probe, batch: Batch, key: jax.Array) -> jax.Array:
        if batch.classes is not None:
            raise Refusal(f"method.args.noise_bits={bits!r} compares all outputs; it needs data.heads='shared'")
        logits, feature = probe.apply(probe.point, batch.image)
        draws = jax.random.uniform(key, (DRAWS, *feature.shape))
        noise = noise_loss(probe, logits, feature, batch.weight, draws, step)
        return noise / probe.num_batches + mean_over(loss, probe, Outputs(logits, feature), batch)

    return objective

"""Knowledge distillation: a low-bit network that follows the float network it comes from."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.types import PyTree
from lifeq_jax.losses.base import Loss
from lifeq_jax.losses.classify import of_head
from lifeq_jax.methods.base import FloatNetwork, Forward, Method, Outputs, StageStart
from lifeq_jax.methods.penalty import check_positive, check_strength, copy

FloatEvaluate = Callable[[PyTree, jax.Array, PyTree], Outputs]
"""(params, image, batch_stats) -> outputs in evaluation mode, nothing quantized"""


class Taught(NamedTuple):
    """The constant state of `from_float`."""

    network: FloatNetwork
    strength: jax.Array  # () float32; all strengths share one compiled step


def divergence(logits: jax.Array, teacher: jax.Array, temperature: float) -> jax.Array:
    """T^2 KL(softmax(teacher / T) || softmax(logits / T)): (B, K), (B, K) -> (B,) nats, not below 0.

    The factor T^2 keeps the gradient's magnitude independent of T. Source: Hinton et al., 2015, section 2."""
    log_p, log_q = (jax.nn.log_softmax(values / temperature) for values in (teacher, logits))
    return temperature**2 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def from_float(evaluate: FloatEvaluate, strength: float = 1.0, temperature: float = 4.0) -> Method:
    """loss + strength * `divergence` from the float network, over the outputs of the example's own head.

    Only examples of tasks that the float network has been trained on are distilled, replayed ones too. Costs a forward
    pass. State: a Taught, whose network is from the last float stage, else from the run's start weights. Refuses a
    negative strength, a temperature not above 0, and a stage without a float network before it."""
    strength = check_strength(strength, "distillation.args.strength")
    temperature = check_positive(temperature, "distillation.args.temperature")

    def init(start: StageStart) -> Taught:
        if start.float_network is None:
            raise Refusal("recipe.distillation.name='from_float': there is no float network before this stage")
        params, batch_stats, num_tasks = start.float_network
        network = FloatNetwork(copy(params), copy(batch_stats), jnp.array(num_tasks, jnp.int32))
        return Taught(network, jnp.float32(strength))

    def example_loss(state: Taught, loss: Loss, forward: Forward) -> jax.Array:
        batch, (params, batch_stats, num_tasks) = forward.batch, state.network
        outputs = lax.stop_gradient(evaluate(params, batch.image, batch_stats))
        pull = divergence(forward.examples.logits, of_head(outputs.logits, batch.classes), temperature)
        return loss(forward.examples) + jnp.where(batch.task < num_tasks, state.strength * pull, 0.0)

    return Method(init=init, example_loss=example_loss)

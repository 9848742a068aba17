"""Distillation by hand, what has a teacher, and the claim: the low-bit network follows the float one, whatever the
method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods import METHODS
from lifeq_jax.methods.base import FloatNetwork
from lifeq_jax.methods.combine import combine
from lifeq_jax.methods.distill import divergence, from_float
from lifeq_jax.optim.chain import method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import constant
from tests.methods import toy, trainer
from tests.methods.trainer import forward, start

LOSS = LOSSES["cross_entropy"]()


def evaluate(params, image, batch_stats):
    return toy.apply_weights(params, image)


def begun(params, teacher, num_tasks=1):
    return start(params)._replace(float_network=FloatNetwork(teacher, {"mean": jnp.ones(1)}, num_tasks))


def test_divergence_by_hand():
    logits, teacher = jnp.array([[0.0, 1.0, 3.0]]), jnp.array([[2.0, 0.0, 1.0]])
    p, q = (np.exp(np.asarray(z) / 2) / np.exp(np.asarray(z) / 2).sum() for z in (teacher, logits))
    np.testing.assert_allclose(divergence(logits, teacher, 2.0), [4 * np.sum(p * np.log(p / q))], rtol=1e-5)
    np.testing.assert_allclose(divergence(teacher, teacher + 5.0, 2.0), [0.0], atol=1e-6)


def test_at_high_temperature_the_gradient_is_that_of_centered_logits():
    logits, teacher = jnp.array([[0.3, -1.0, 0.5]]), jnp.array([[1.0, 0.2, -0.4]])
    gradient = jax.grad(lambda z: divergence(z, teacher, 1000.0)[0])(logits)
    centered = [z - jnp.mean(z) for z in (logits, teacher)]
    np.testing.assert_allclose(gradient, (centered[0] - centered[1]) / 3, rtol=1e-2)


@pytest.mark.parametrize("num_tasks", [0, 1, 2])
def test_only_tasks_that_the_float_network_knows_have_a_teacher(num_tasks):
    params, teacher, batch = toy.init(1), toy.init(2), toy.with_replay(1)
    method = from_float(evaluate, strength=0.5, temperature=3.0)
    state, seen = method.init(begun(params, teacher, num_tasks)), forward(params, batch, toy.apply)
    pull = divergence(seen.examples.logits, toy.apply_weights(teacher, batch.image).logits, 3.0)
    expected = LOSS(seen.examples) + jnp.where(batch.task < num_tasks, 0.5 * pull, 0.0)
    np.testing.assert_allclose(method.example_loss(state, LOSS, seen), expected, rtol=1e-5)


def test_the_outputs_of_other_heads_do_not_count():
    params, teacher, batch = toy.init(1, outputs=4), toy.init(2, outputs=4), toy.data(0, outputs=4)
    method, seen = from_float(evaluate), forward(params, batch, toy.apply)
    values = method.example_loss(method.init(begun(params, teacher)), lambda examples: jnp.zeros(toy.SIZE), seen)
    own = [
        apply(point, batch.image).logits[:, :2] for apply, point in ((toy.apply, params), (toy.apply_weights, teacher))
    ]
    np.testing.assert_allclose(values, divergence(*own, 4.0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["finetune", "ewc", "er_ace"])
def test_the_low_bit_network_follows_the_float_one(name):
    """Labels alone fix signs of logits, a teacher fixes logits."""
    teacher, batch, image = toy.init(7), toy.data(0), toy.data(0, seed=1).image
    taught = batch._replace(label=jnp.argmax(toy.apply_weights(teacher, batch.image).logits, axis=-1))
    net, base = trainer.network(toy.apply, toy.quantize, toy.QUANTIZED), sgd_by_progress(constant(0.1), 0.9)

    def agreement(distillation):
        method = combine(METHODS[name](), distillation)
        optimizer = method_chain(method.gradients, base, base, method.constraint)
        first = dict(float_network=FloatNetwork(teacher, {}, 1))
        (end,) = trainer.train(net, method, optimizer, toy.init(), [[taught] * 100], toy.counts(), None, **first)
        found, wanted = toy.apply(end[0], image).logits, toy.apply_weights(teacher, image).logits
        return float(jnp.mean(divergence(found, wanted, 1.0)))

    assert agreement(from_float(evaluate, strength=5.0)) < 0.3 * agreement(METHODS["finetune"]())


def test_its_state_is_its_own_and_never_changes():
    teacher = toy.init(2)
    method = from_float(evaluate)
    state = method.init(begun(toy.init(), teacher))
    jax.tree.map(np.testing.assert_array_equal, state.network.params, teacher)
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((state, teacher))]
    assert len(set(pointers)) == len(pointers)
    assert method.end_task(state, toy.task_end(0, toy.init())) is state


def test_strengths_are_data_so_that_other_ones_compile_nothing():
    params, batch = toy.init(1), toy.with_replay(1)

    def lowered(strength):
        method = from_float(evaluate, strength=strength)
        state, seen = method.init(begun(params, toy.init(2))), forward(params, batch, toy.apply)
        losses = jax.jit(lambda state, logits: method.example_loss(state, LOSS, seen._replace(outputs=logits)))
        return losses.lower(state, seen.outputs).as_text()

    assert lowered(0.1) == lowered(0.2)


def test_refusals():
    for arguments, text in (
        ({"strength": -1.0}, "distillation.args.strength=-1.0 is not a finite number from 0 on"),
        ({"temperature": 0.0}, "distillation.args.temperature=0.0 is not a finite number above 0"),
    ):
        with pytest.raises(Refusal, match=text):
            from_float(evaluate, **arguments)
    with pytest.raises(Refusal, match="there is no float network before this stage"):
        from_float(evaluate).init(start(toy.init()))
